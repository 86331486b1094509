"""The pictures of the demo's world."""

import numpy as np
import pytest

from hf_newsmatch.demo.drawing import (
    ATTIRE,
    COLOURS,
    GROUNDS,
    HAIR,
    SIZE,
    SKIES,
    SKIN,
    STYLES,
    THINGS,
    Person,
    Scene,
    draw,
    private_style,
)

PLAIN = Scene("car", "red", "meadow", "sun")


def pixels(scene, seed=0, style=None):
    return np.asarray(draw(scene, np.random.default_rng(seed), style))


@pytest.mark.parametrize("style", [None, *STYLES.values()])
def test_a_picture_is_a_function_of_scene_style_and_seed(style):
    first, again, other = pixels(PLAIN, 3, style), pixels(PLAIN, 3, style), pixels(PLAIN, 4, style)
    assert first.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_every_thing_colour_ground_sky_and_person_can_be_told_apart():
    scenes = [Scene(thing, "red", "meadow", "sun") for thing in THINGS]
    scenes += [Scene("car", colour, "meadow", "sun") for colour in COLOURS if colour != "red"]
    scenes += [Scene("car", "red", ground, "sun") for ground in GROUNDS if ground != "meadow"]
    scenes += [Scene("car", "red", "meadow", sky) for sky in SKIES if sky != "sun"]
    scenes += [Scene("car", "red", "meadow", "sun", person=Person(role, "red", "tan")) for role in ATTIRE]
    scenes += [
        Scene("car", "red", "meadow", "sun", person=Person("judge", hair, "tan")) for hair in HAIR if hair != "red"
    ]
    scenes += [
        Scene("car", "red", "meadow", "sun", person=Person("judge", "red", skin)) for skin in SKIN if skin != "tan"
    ]
    scenes += [
        Scene("car", "red", "meadow", "sun", burning=True),
        Scene("car", "red", "meadow", "sun", ("dog", "blue")),
    ]
    assert len({pixels(scene).tobytes() for scene in scenes}) == len(scenes)


def test_the_colour_of_a_thing_is_seen():
    red, blue = (pixels(Scene("bus", colour, "street", "sun")).astype(float) for colour in ("red", "blue"))
    changed = (red != blue).any(axis=2)
    assert 0.05 < changed.mean() < 0.5
    assert (red - blue)[changed].mean(axis=0)[0] > 50  # more red
    assert (red - blue)[changed].mean(axis=0)[2] < -50  # less blue


def test_newsrooms_have_a_style_that_private_pictures_lack():
    banner = np.array(STYLES["feed"].banner)

    def share_of_banner(style):
        edge = pixels(PLAIN, 0, style)[-3:].reshape(-1, 3).astype(int)
        return (np.abs(edge - banner).max(axis=1) < 30).mean()

    assert share_of_banner(STYLES["feed"]) > 0.6
    assert share_of_banner(STYLES["portal"]) == 0
    rng = np.random.default_rng(0)
    styles = [private_style(rng) for _ in range(200)]
    assert np.mean([share_of_banner(style) > 0.6 for style in styles]) < 0.02
    assert len({style.tint for style in styles}) > 190
