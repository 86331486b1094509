import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_newsmatch.translation.protection import cut_at, find_spans, has_words, lost_spans, peel


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Mehr auf https://www.ksta.de/a-1?b=c, jetzt.", [("url", "https://www.ksta.de/a-1?b=c")]),
        ("Siehe rt.de/inland und www.zeit.de.", [("url", "rt.de/inland"), ("url", "www.zeit.de")]),
        ("Schreiben Sie an redaktion@zeitung.example!", [("url", "redaktion@zeitung.example")]),
        ("#Köln2024 und @polizei_nrw", [("hashtag", "#Köln2024"), ("handle", "@polizei_nrw")]),
        ("Platz #1", [("number", "1")]),
        ("14.30 Uhr, 1.500 Gäste, 3,5 %", [("number", "14.30"), ("number", "1.500"), ("number", "3,5")]),
        ("Ein Team 👩‍👩‍👧 jubelt ⚽🎉", [("emoji", "👩‍👩‍👧"), ("emoji", "⚽🎉")]),
        ("z.B. Dr. Müller, AT&T", []),
    ],
)
def test_spans(text, spans):
    assert [(span.kind, span.text) for span in find_spans(text)] == spans


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("#Lindner kritisiert @OlafScholz 😀", ("#Lindner ", "kritisiert", " @OlafScholz 😀")),
        ("Mehr: https://a.de/x.", ("", "Mehr:", " https://a.de/x.")),
        ("Der Bus #42er wartet.", ("", "Der Bus #42er wartet.", "")),
        ("24 Züge warten seit 3", ("", "24 Züge warten seit 3", "")),
        ("😀😀", ("😀😀", "", "")),
        ("  Hallo  ", ("  ", "Hallo", "  ")),
        ("", ("", "", "")),
    ],
)
def test_spans_at_the_ends_are_peeled(text, parts):
    assert peel(text) == parts


@given(st.text(alphabet=st.sampled_from("aB Ä.#@/:1🙂w\n"), max_size=60))
def test_peeling_and_cutting_lose_nothing(text):
    assert "".join(peel(text)) == text
    assert "".join(part for part, _ in cut_at(text, find_spans(text))) == text


@pytest.mark.parametrize(("text", "expected"), [("12:30, 3.5 %", False), ("#Köln @x1 😀", False), ("Tor! 3:1", True)])
def test_words(text, expected):
    assert has_words(text) == expected


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("Um 14.30 Uhr kamen 2 von 1.500 Gästen", "At 2:30 p.m. two of 1,500 guests came", []),
        ("Um 20 Uhr, um 14.00 Uhr", "At 8 p.m., at 2 p.m.", []),
        ("Der 42-Jährige", "The 42-year-old", []),
        ("42 und 42", "42 and more", ["42"]),
        ("142 Menschen", "42 people", ["142"]),
        ("20 Gäste", "8 guests", ["20"]),
        ("Die #Ampel und @scholz", "The # Ampel and @Scholz", ["#Ampel", "@scholz"]),
        ("Kein Wort", "No word", []),
    ],
)
def test_lost_spans(source, output, lost):
    assert [span.text for span in lost_spans(source, output)] == lost


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("3,4 Prozent", "34 percent", ["3,4"]),
        ("3,4 Prozent", "3.4 percent", []),
        ("3,40 Euro", "3.4 euros", []),
        ("3,4 Prozent", "3,4 percent", []),
        ("3,4 Prozent", "3,400 percent", ["3,4"]),
        ("1.500 Gäste", "1,500 guests", []),
        ("1.500 Gäste", "1500 guests", []),
        ("1.500 Gäste", "1 500 guests", []),
        ("1.500 Gäste", "1.5 guests", ["1.500"]),
        ("1,500 Meter", "1,500 metres", []),
        ("1,500 Meter", "1.5 metres", []),
        ("1,500 Meter", "1500 metres", ["1,500"]),
        ("1.234.567,89 Euro", "1,234,567.89 euros", []),
        ("1.234.567,89 Euro", "123,456,789 euros", ["1.234.567,89"]),
        ("12 000 Menschen", "12,000 people", []),
        ("Um 14.30 Uhr", "At 2:30 p.m.", []),
        ("Um 14.30 Uhr", "At 2.30pm", []),
        ("Um 14.30 Uhr", "At 14:30", []),
        ("Um 14.30 Uhr", "At 2:30 a.m.", ["14.30"]),
        ("Um 14.30 Uhr", "At 2:03 p.m.", ["14.30"]),
        ("Um 9.05 Uhr", "At 9:05 a.m.", []),
        ("Um 0.15 Uhr", "At 12:15 a.m.", []),
        ("Um 14 Uhr", "At 2 p.m.", []),
        ("Um 14.30", "At 2:30 p.m.", ["14.30"]),
        ("Es stand 2:1", "It was 2:1", []),
        ("Es stand 2:1", "It was 21", ["2:1"]),
        ("Am 3.5.2019", "On 3:5:2019", []),
        ("10 und 1,0", "1 and 10", []),
        ("10 und 10", "10 and ten", []),
        ("007", "7", []),
    ],
)
def test_numbers_are_compared_as_numbers(source, output, lost):
    assert [span.text for span in lost_spans(source, output)] == lost


def test_each_language_has_its_notation():
    assert lost_spans("3.4 percent of 1,500", "3,4 Prozent von 1.500", "en", "de") == []
    assert [span.text for span in lost_spans("3.4 percent", "34 Prozent", "en", "de")] == ["3.4"]
    assert lost_spans("1 500 et 2,5", "1.500 y 2,5", "fr", "es") == []


@given(st.decimals(0, 10**9, places=2, allow_nan=False))
def test_any_amount_is_kept_in_the_other_notation_and_lost_with_other_digits(amount):
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert lost_spans(f"Es sind {german} Euro", f"It is {english} euros") == []
    assert len(lost_spans(f"Es sind {german} Euro", f"It is {amount + 1:,.2f} euros")) == 1
    assert len(lost_spans(f"Es sind {german} Euro", f"It is {amount * 100 + 1:,.0f} euros")) == 1


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("-5 Grad", "5 degrees", ["-5"]),
        ("−3,4 Prozent", "3.4 percent", ["−3,4"]),
        ("minus 3 Grad", "3 degrees", ["minus 3"]),
        ("2 und -2", "2 and 2", ["-2"]),
        ("-5 Grad", "-5 degrees", []),
        ("–5 Grad", "minus 5 degrees", []),
        ("minus 3 Grad", "minus three degrees", []),
        ("-3,4 Prozent", "down 3.4 percent", []),
        ("-2 und 2", "2 and -2", []),
        ("Covid-19, Seite 3–5, 1990 -1995, - 5 Tote", "Covid 19, pages 3 to 5, 1990 to 1995, 5 dead", []),
        ("1'000 und 2’500’000 Franken", "1,000 and 2,500,000 francs", []),
        ("1'000 Franken", "1 franc", ["1'000"]),
    ],
)
def test_signs_and_the_apostrophes_of_switzerland(source, output, lost):
    assert [span.text for span in lost_spans(source, output)] == lost
