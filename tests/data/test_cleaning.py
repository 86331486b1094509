import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_newsmatch.data.cleaning import clean_batch, clean_text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Brand in Köln-Mülheim: „Es war die Hölle“, sagt ein Anwohner",
        "‘Quoted’ and “quoted” – with a dash — and an ellipsis…",
        "ﬁne ligatures and ＦＵＬＬ width",
        "a < b and b > a",
        "I <3 AT&T, R&D and M&Ms",
        "https://example.org/?a=1&copy=2&region=de&lt=3",
        "write to <someone> or <desk@example.org>, see <https://example.org/x>",
        "if a<b then c>d",
        "👩\u200d💻 at work",
        "می\u200cخواهم",
        "naïve façade, Ærø, Łódź, Ñandú",
    ],
)
def test_clean_text_stays_as_it_is(text):
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<p>Eins</p><p>Zwei<br>drei<br/>vier</p>", "Eins Zwei drei vier"),
        ("Zu<b>g</b> f&auml;hrt <a href='https://example.org/?x=1'>weiter</a>.", "Zug fährt weiter."),
        ('<a title="a > b" href=x>link</a>', "link"),
        ("<a title=it's href=x>link</a>", "link"),
        ("<STYLE>p {color: red}</STYLE>before<script>if (a < b) x()</script>after", "before after"),
        ("<!-- hidden <b>note</b> -->seen", "seen"),
        ("<fb:like></fb:like><my-widget size=1></my-widget>text", "text"),
        ('Ein abgeschnittener <a href="https://example.org/ei', "Ein abgeschnittener"),
        ("&lt;b&gt;fett&lt;/b&gt;", "fett"),
        ("Tom &amp; Jerry &amp;amp; Spike &amp;amp;amp; Tyke", "Tom & Jerry & Spike & Tyke"),
        ("100&nbsp;&euro; &#8211; &#x201E;viel&#x201c;", "100 € – „viel“"),
        ("KÃ¶ln", "Köln"),
        ("StraÃŸe", "Straße"),
        ("summer â€“ Times", "summer – Times"),
        ("summer Ã¢â‚¬â€œ Times", "summer – Times"),
        ("â€žBildâ€œ", "„Bild“"),
        ("Ko\u0308ln", "Köln"),
        ("zero\u200bwidth \u00adsoft\u00adhyphen\ufeff joi\u200dner", "zerowidth softhyphen joiner"),
        ("con\x00trol\x07\x1b[31m", "control"),
        ("  tab\tline\r\nend\u2028no\xa0break  ", "tab line end no break"),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_what_does_not_belong_goes(text, cleaned):
    assert clean_text(text) == cleaned


markup = ["<", ">", "<b>", "</p>", "&", "amp;", "&lt;", "&#60;", "<!--", "-->", "<script>", "</script>"]
debris = [
    "]]>",
    "<![CDATA[",
    "/",
    '"',
    "'",
    "=",
    "a",
    "b",
    "ü",
    "Ã¼",
    "â€",
    "“",
    "œ",
    "😀",
    " ",
    "  ",
    "\xa0",
    "\u200b",
    "\u200d",
]
pieces = st.sampled_from(markup + debris)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=15).map("".join)))
def test_cleaning_twice_changes_nothing(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert cleaned == " ".join(cleaned.split())
    cleaned.encode("utf-8")


def test_clean_batch_cleans_both_columns():
    assert clean_batch(["<b>A</b>"], ["b &amp; c"]) == {"title": ["A"], "text": ["b & c"]}


@pytest.mark.parametrize(
    "unit",
    [
        "<script>",
        "<script ",
        "<STYLE>a",
        "<script></scrip ",
        "<!--",
        "<!doctype ",
        "<![CDATA[",
        "&lt;script&gt;",
        "<a b=",
        *[
            "<a b='x\" ",
            "<b \"'<b '\"",
            "<a \"' ",
            "&amp;",
            "Ã¢â‚¬â€œ ",
            "\u200c",
            "<",
            "<b-",
            "</script ",
            "<p>x</p>",
        ],
    ],
)
def test_cleaning_takes_linear_time(unit):
    """160 kB of what never ends: the time of the processor, since the machine may be busy."""
    text = (unit * 160_000)[:160_000]
    begin = time.process_time()
    clean_text(text)
    assert time.process_time() - begin < 2


def test_escaping_of_any_depth_takes_no_time_either():
    begin = time.process_time()
    clean_text("&" + "amp;" * 40_000)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <script>b</script> c <script>d", "a c d"),
        ("a <script src='x'>b</SCRIPT > c", "a c"),
        ("a <!-- b --> c <!-- d", "a c <!-- d"),
        ("a <style>b</script></style> c", "a c"),
        ("a <script>b <!-- c</script> d --> e", "a d --> e"),
        ("<!doctype html>a <![CDATA[b]]> c", "a b c"),
        ("a <script b", "a <script b"),
    ],
)
def test_what_has_no_end_is_no_element(text, expected):
    assert clean_text(text) == expected
