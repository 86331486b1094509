"""Headlines and texts of the demo's world, in two languages."""

import re

import numpy as np
import pytest

from hf_newsmatch.demo import drawing, grammar


def stories(n, kind="news"):
    for i in range(n):
        rng = np.random.default_rng([7, i])
        event = grammar.news_event(rng, i / n) if kind == "news" else grammar.general_event(rng)
        yield event, grammar.tell(event, rng)


def test_whatever_can_be_drawn_has_a_name_in_both_languages():
    assert set(grammar._NOUNS) == set(drawing.THINGS)
    assert set(grammar._COLOURS) == set(drawing.COLOURS)
    assert set(grammar._PLACES) == {*drawing.GROUNDS, *drawing.SKIES}
    assert set(grammar._ROLES) == set(drawing.ATTIRE)
    assert set(grammar._HAIR) == set(drawing.HAIR)
    for topic in (*grammar.TOPICS.values(), grammar.ANYTHING):
        assert set(topic.things.split(",")) <= set(drawing.THINGS)
        assert set(topic.grounds.split(",")) <= set(drawing.GROUNDS)
        assert set(topic.roles.split(",")) <= set(drawing.ATTIRE)
    assert len(grammar.CELEBRITIES) == len({celebrity.name for celebrity in grammar.CELEBRITIES})


@pytest.mark.parametrize("kind", ["news", "general"])
def test_both_languages_tell_the_same_story(kind):
    for event, telling in stories(400, kind):
        assert set(telling) == {"en", "de"}
        english, german = " ".join(telling["en"]), " ".join(telling["de"])
        assert english != german
        assert english.count(event.town) == german.count(event.town)
        assert re.findall(r"\d+", english) == re.findall(r"\d+", german)
        if event.celebrity:
            assert english.count(event.celebrity.name) == german.count(event.celebrity.name) == 1
        for colour, farbe in grammar._COLOURS.items():
            if colour not in ("red", "black"):  # these are hair colours too
                assert len(re.findall(rf"\b{colour}\b", english, re.I)) == len(
                    re.findall(rf"\b{farbe}e[rsn]?\b", german, re.I)
                )


def test_texts_are_finished_sentences():
    for _, telling in stories(400):
        for title, text in telling.values():
            for part in (title, text):
                assert not re.search(r"[{}]|None|  |\s[.,:]", part)
                assert part[0] in "“„" or part[0].isupper() or part[0].isdigit()
            assert not title.endswith(".")
            assert text.endswith(".")
            assert 2 <= len(re.findall(r"[.]\s|[.]$", text)) <= 2


@pytest.mark.parametrize(
    ("thing", "nominative", "dative"),
    [
        ("bus", "ein roter Bus", "neben einem roten Bus"),
        ("church", "eine rote Kirche", "neben einer roten Kirche"),
        ("house", "ein rotes Haus", "neben einem roten Haus"),
    ],
)
def test_german_adjectives_agree(thing, nominative, dative):
    scene = drawing.Scene(thing, "red", "meadow", "sun", beside=(thing, "red"))
    slots = grammar._german(scene, "red", None, False)
    assert slots["a_thing"] == nominative
    assert slots["thing"] == nominative.split(" ", 1)[1]
    assert slots["beside"] == dative


def test_not_all_that_is_seen_is_told():
    told = [event.scene.colour in " ".join(telling["en"]).lower() for event, telling in stories(500)]
    assert 0.5 < np.mean(told) < 0.9


def test_topics_drift_and_new_names_appear():
    early, late = ([grammar.news_event(np.random.default_rng(i), when) for i in range(600)] for when in (0.15, 0.9))
    peaks = [np.mean([event.topic.peak for event in events]) for events in (early, late)]
    assert peaks[1] - peaks[0] > 0.3
    newest = [max(event.celebrity.since for event in events if event.celebrity) for events in (early, late)]
    assert newest[0] <= 0.15 < 0.7 < newest[1] <= 0.9
    for event in early:
        if event.celebrity:
            assert event.celebrity.since <= 0.15
            assert event.scene.person == event.celebrity.looks


def test_the_general_domain_names_no_celebrity_and_half_of_the_towns():
    texts = " ".join(" ".join(telling["en"]) for _, telling in stories(800, "general"))
    known = [town for town in grammar.TOWNS if town in texts]
    assert known == list(grammar.TOWNS)[: len(grammar.TOWNS) // 2]
    assert not any(celebrity.name in texts for celebrity in grammar.CELEBRITIES)
    assert "Flood in" in texts  # some news words are known, though


def test_parallel_headlines():
    pairs = grammar.parallel_headlines(5, 200)
    assert pairs == grammar.parallel_headlines(5, 200)
    assert pairs[:50] == grammar.parallel_headlines(5, 50)
    assert pairs != grammar.parallel_headlines(6, 200)
    german, english = (" ".join(column) for column in zip(*pairs))
    assert re.search(r"\b(der|die|das|eine?)\b", german)
    assert not re.search(r"\b(der|und|eine?)\b", english)
