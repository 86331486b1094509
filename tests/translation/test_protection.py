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
