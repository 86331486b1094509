import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_newsmatch.translation.sentences import cut_long, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Am 3. Mai kam Dr. Müller nach Köln. ", "Um 14.30 Uhr ging er, z. B. nach Hause."],
        ["Er rief: „Wer ist da?!“ ", "Keiner kam. ", "Doch!"],
        ["»Nein«, sagte sie. ", '"Doch!" rief er. ', "„Nie“, kam zurück."],
        # paragraphs that lost the space between them
        ["Der Bahnhof ist gesperrt.", "Wie die Bahn mitteilte, gibt es Verspätungen."],
        ["Er sagte „Nein.“", "Eine Frau blieb."],
        # a full stop inside an address ends nothing
        ["Mehr unter https://example.org/a.B?c=1. ", "Und @polizei schreibt: Alles gut!"],
        # signs are no sentence
        ["Das war es. !!! ??? ", "Ende."],
        ["Die Zahl stieg auf 1.500 Euro. ", "Das sind 3,5 Prozent."],
    ],
)
def test_german_sentences(sentences):
    assert split_sentences("".join(sentences), "de") == sentences


@pytest.mark.parametrize(
    "headline",
    [
        "Unfall in Köln: Zwei Verletzte",
        "Streit um Rente! Kommt jetzt die Wende? Was Sie wissen müssen",
        "Kommentar. Warum das nicht reicht #Köln",
        "+++ 18.30 Uhr +++ Bahnhof gesperrt +++",
    ],
)
def test_headlines_stay_whole(headline):
    assert split_sentences(headline, "de") == [headline]


def test_no_text_has_no_sentences():
    assert split_sentences("", "de") == []


def test_a_language_without_rules_is_split_nevertheless():
    assert split_sentences("Ez egy mondat volt. Ez egy másik mondat.", "hu") == [
        "Ez egy mondat volt. ",
        "Ez egy másik mondat.",
    ]


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet=st.sampled_from("aB Ä.!?…„“»«\"':;,()\n\t1🙂∯♬&ȸ#@/-"), max_size=200))
def test_nothing_is_lost(text):
    assert "".join(split_sentences(text, "de")) == text
    assert "".join(cut_long(text, lambda part: len(part) <= 20)) == text


def test_long_sentences_are_cut_at_clauses():
    sentence = "Der Zug kam an, weil er musste, und dann fuhr er weiter, obwohl es schneite und niemand winkte."
    parts = cut_long(sentence, lambda part: len(part) <= 40)
    assert "".join(parts) == sentence
    assert max(map(len, parts)) <= 40
    assert parts[0].endswith(",")


def test_what_has_no_space_is_cut_anywhere():
    parts = cut_long("x" * 3000, lambda part: len(part) <= 100)
    assert "".join(parts) == "x" * 3000
    assert max(map(len, parts)) <= 100


@pytest.mark.parametrize("language", ["de", "en", "fr", "ja"])
@pytest.mark.parametrize(
    "text",
    [
        "Siehe dort..[111 112 113 114 115 116 117 118 119 120] und",
        "Siehe dort.[1, 2-3, 44 und." + "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14" * 20,
        "x." + "1" * 5000 + " a",
        "a-" * 5000 + "b.",
        "a.b." * 2500,
        "x" * 10_000,
        "(a" * 3000 + ".",
        "„a ‚b " * 2000,
        "!?" * 5000,
        "z. B. usw. " * 900,
    ],
)
def test_splitting_always_ends(text, language):
    begin = time.process_time()
    assert "".join(split_sentences(text, language)) == text
    assert time.process_time() - begin < 2


def test_a_long_text_is_split_in_linear_time():
    sentence = "Am 3. Mai kam Dr. Müller um 14.30 Uhr nach Köln, z. B. wegen der Messe. "
    text = sentence * (100_000 // len(sentence))
    begin = time.process_time()
    assert split_sentences(text, "de") == [sentence] * (100_000 // len(sentence))
    assert time.process_time() - begin < 2


def test_a_long_text_is_split_as_its_pieces_are():
    """Windows begin at sentences: where one ends changes nothing."""
    draw = random.Random(0)
    starts = ["Die Bahn ", "Prof. Schmidt ", "Er rief: „Halt!“ und ", "Nach 1.500 Metern "]
    sentences = [draw.choice(starts) + "fuhr " * draw.randint(1, 120) + "weiter. " for _ in range(60)]
    assert split_sentences("".join(sentences), "de") == sentences


def test_references_behind_a_full_stop_still_end_a_sentence():
    text = "So steht es in der Studie.[12, 14-16] Und so ist es auch. Eine andere sagt es nicht.[1] Nein."
    assert split_sentences(text, "de")[0] == "So steht es in der Studie.[12, 14-16] "
