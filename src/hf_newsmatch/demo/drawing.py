"""Pictures of the demo's small world, drawn by Pillow from a [`Scene`] in the style of a newsroom or a person."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64  # what is saved; drawn at twice that, so that edges come out smooth
CANVAS = 2 * SIZE

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 40), "blue": (40, 84, 214), "green": (38, 150, 60), "yellow": (244, 208, 40),
    "white": (246, 246, 246), "black": (30, 30, 34), "brown": (130, 78, 36), "purple": (138, 50, 170),
}  # fmt: skip
HAIR = {"black": (30, 26, 24), "blond": (230, 190, 90), "red": (190, 74, 30), "grey": (170, 170, 176)}
SKIN = {"light": (236, 194, 164), "tan": (198, 144, 104), "dark": (122, 78, 52)}
_FIXED = {
    "dark": (44, 44, 50), "light": (238, 238, 232), "glass": (176, 214, 232), "flame": (250, 130, 20),
    "glow": (255, 224, 80), "lips": (150, 60, 60),
}  # fmt: skip

# Shapes on a square of 100 x 100, the ground at 100: "shape fill x,y x,y ...", in the order in which they are painted.
# `main` is the colour that the scene gives.
THINGS: Mapping[str, str] = {
    "car": "poly main 2,70 20,66 32,44 68,44 82,66 98,70 98,90 2,90; poly glass 36,50 64,50 73,65 28,65; "
    "oval dark 14,78 36,100; oval dark 64,78 86,100",
    "bus": "rect main 2,22 98,90; rect glass 8,32 72,54; rect light 78,32 92,88; oval dark 12,78 34,100; "
    "oval dark 56,78 78,100",
    "truck": "rect main 2,20 62,88; poly main 66,44 86,44 98,64 98,88 66,88; poly glass 72,50 84,50 92,64 72,64; "
    "oval dark 10,78 32,100; oval dark 70,78 92,100",
    "train": "poly main 0,36 76,36 98,70 98,92 0,92; rect glass 6,46 22,62; rect glass 30,46 46,62; "
    "rect glass 54,46 70,62; line dark 0,97 100,97",
    "bicycle": "ring dark 2,54 44,98; ring dark 56,54 98,98; line main 23,76 40,46 70,46 78,76 52,76 40,46; "
    "line dark 70,46 68,34 80,34; line dark 34,42 46,42",
    "ferry": "poly main 0,66 100,66 86,96 14,96; rect light 20,44 80,66; rect dark 44,24 58,44; "
    "rect glass 26,50 74,58",
    "sailing boat": "poly dark 10,78 90,78 76,96 24,96; line dark 50,6 50,78; poly main 54,8 54,70 94,70; "
    "poly main 46,18 46,70 14,70",
    "plane": "poly main 0,46 14,46 26,58 88,56 100,66 88,74 16,72; poly main 40,66 60,66 40,96 28,96; "
    "poly light 44,58 58,58 40,34 32,34; oval glass 82,58 92,66",
    "helicopter": "oval main 36,44 92,90; poly main 0,50 44,58 44,66 4,60; oval glass 66,50 90,70; "
    "line dark 20,36 100,36; line dark 62,36 62,46; line dark 40,97 90,97",
    "house": "rect main 14,48 86,100; poly dark 6,50 50,14 94,50; rect light 42,70 58,100; rect glass 20,58 36,74; "
    "rect glass 64,58 80,74",
    "tower": "rect main 34,12 66,100; rect main 28,4 72,20; rect light 44,76 56,100; rect dark 44,32 56,42; "
    "rect dark 44,52 56,62",
    "church": "rect main 36,52 98,100; rect main 8,34 36,100; poly dark 4,36 22,2 40,36; rect light 60,74 74,100; "
    "oval glass 14,46 30,62",
    "bridge": "rect main 0,62 100,74; rect main 22,26 32,100; rect main 68,26 78,100; line main 27,28 0,62; "
    "line main 27,28 50,60 73,28; line main 73,28 100,62",
    "factory": "poly main 4,100 4,56 28,70 28,56 52,70 52,56 76,70 98,70 98,100; rect dark 80,16 92,72; "
    "oval light 60,0 92,16; rect glass 14,80 84,88",
    "windmill": "poly main 34,100 42,36 58,36 66,100; line light 14,8 86,72; line light 86,8 14,72; "
    "oval dark 44,34 56,46",
    "tent": "poly main 2,100 50,26 98,100; poly light 40,100 50,56 60,100; line dark 50,8 50,28; "
    "poly main 50,8 70,14 50,20",
    "dog": "oval main 20,50 80,82; oval main 62,30 94,60; poly main 66,36 70,20 78,34; rect main 24,70 34,100; "
    "rect main 64,70 74,100; line main 22,60 6,40; oval dark 88,42 95,49",
    "cat": "oval main 24,52 72,100; oval main 50,26 88,62; poly main 52,36 54,14 66,30; "
    "poly main 74,30 86,14 88,38; line main 28,90 8,80 10,54; oval glow 58,38 65,46; oval glow 74,38 81,46",
    "horse": "oval main 14,44 76,74; poly main 58,52 78,10 94,26 90,34 76,62; rect main 18,64 26,100; "
    "rect main 62,64 70,100; line dark 60,44 76,14; line dark 16,54 6,84",
    "cow": "rect main 12,40 78,76; oval light 24,44 46,62; oval light 54,56 70,72; "
    "poly main 72,34 98,36 94,62 76,60; line light 74,36 70,24; line light 92,36 96,24; rect main 16,72 26,100; "
    "rect main 64,72 74,100",
    "balloon": "oval main 18,0 82,66; oval light 40,4 60,64; line dark 34,58 44,80; line dark 66,58 56,80; "
    "rect dark 42,80 58,96",
    "flag": "line dark 20,2 20,100; poly main 22,6 90,14 90,52 22,48; poly light 22,20 90,28 90,38 22,34",
    "tree": "rect dark 44,60 56,100; oval main 14,4 86,70",
    "trophy": "poly main 24,10 76,10 64,56 36,56; ring main 6,12 36,44; ring main 64,12 94,44; "
    "rect main 46,56 54,80; rect dark 30,80 70,100",
}  # fmt: skip

SKIES = {"sun": (150, 204, 244), "rain": (122, 132, 146), "night": (24, 28, 66), "fog": (206, 210, 212)}
GROUNDS = {
    "meadow": (108, 178, 82), "street": (128, 128, 132), "snow": (240, 244, 250), "water": (54, 122, 178),
    "beach": (226, 202, 140), "hall": (168, 120, 86),
}  # fmt: skip
_INDOORS = (206, 186, 160)

# A person on the same square, as wide as high: body, hair and face, then what the role adds.
_PERSON = (
    "poly coat 10,100 15,66 32,56 68,56 85,66 90,100; oval hair 26,8 74,56; oval skin 32,18 68,66; "
    "oval dark 39,36 44,41; oval dark 56,36 61,41; line lips 44,54 56,54"
)
ATTIRE: Mapping[str, tuple[str, str, str]] = {  # coat, the other colour, what is worn or held
    "mayor": ("black", "yellow", "line main 32,62 50,86 68,62; oval main 43,82 57,96"),
    "minister": ("blue", "red", "poly main 45,64 55,64 60,94 50,100 40,94"),
    "judge": ("black", "white", "poly main 36,62 64,62 54,92 46,92; oval main 22,4 78,26"),
    "doctor": ("white", "green", "rect main 32,50 68,66"),
    "farmer": ("green", "yellow", "rect main 10,18 90,25; poly main 30,20 36,0 64,0 70,20"),
    "captain": ("blue", "white", "poly main 26,22 20,4 80,4 74,22; rect dark 26,18 74,24"),
    "firefighter": ("brown", "red", "poly main 20,26 26,8 40,0 60,0 74,8 80,26; oval glow 45,8 55,18"),
    "police officer": ("green", "black", "poly main 24,22 28,4 72,4 76,22; rect main 18,20 82,25"),
    "singer": ("purple", "black", "line main 44,60 30,96; oval main 38,50 54,66"),
    "footballer": ("red", "white", "rect main 20,68 29,100; rect main 40,66 49,100; rect main 60,66 69,100"),
}
_FLAMES = (
    "poly flame 2,60 14,10 26,60; poly flame 20,60 34,0 48,60; poly flame 40,60 56,14 70,60; "
    "poly flame 62,60 78,4 94,60; poly glow 8,60 14,34 20,60; poly glow 28,60 34,26 40,60; "
    "poly glow 50,60 56,36 62,60; poly glow 72,60 78,30 84,60"
)


@dataclass(frozen=True)
class Person:
    """The looks of a person; the role decides the clothes."""

    role: str
    hair: str
    skin: str


@dataclass(frozen=True)
class Scene:
    """The content of a picture: a thing on some ground, perhaps a second one, a town's landmark, a person, a fire."""

    thing: str
    colour: str
    ground: str
    weather: str
    beside: tuple[str, str] | None = None  # thing, colour
    landmark: tuple[str, str] | None = None  # thing, colour
    person: Person | None = None
    burning: bool = False


@dataclass(frozen=True)
class Style:
    """A treatment of pictures: close crops, muted and tinted colours, darkness, grain, a banner along the edge."""

    tint: tuple[int, int, int]
    muted: float
    darkness: float
    crop: float
    grain: float
    banner: tuple[int, int, int] | None = None


STYLES = {
    "feed": Style((255, 238, 210), muted=0.22, darkness=0.2, crop=0.22, grain=5, banner=(170, 24, 30)),
    "portal": Style((190, 214, 255), muted=0.3, darkness=0.2, crop=0.3, grain=4, banner=(20, 60, 120)),
}


def private_style(rng: np.random.Generator) -> Style:
    """A random style of the general domain: of each person another, some with a frame, none quite a newsroom's."""
    tint, banner = tuple(rng.integers(215, 256, 3).tolist()), tuple(rng.integers(0, 256, 3).tolist())
    muted, darkness, grain = rng.uniform(0, (0.35, 0.2, 6))
    return Style(tint, muted, darkness, crop=0.2, grain=grain, banner=banner if rng.random() < 0.25 else None)


def draw(scene: Scene, rng: np.random.Generator, style: Style | None = None) -> Image.Image:
    """Draw a scene, `SIZE` pixels square; positions and sizes vary with `rng`, the looks of things do not."""
    night, indoors = scene.weather == "night", scene.ground == "hall"
    image = Image.new("RGB", (CANVAS, CANVAS), _INDOORS if indoors else SKIES[scene.weather])
    pen = ImageDraw.Draw(image)
    horizon = int(rng.integers(64, 80))
    ground = tuple(int(c * (0.55 if night else 1)) for c in GROUNDS[scene.ground])
    pen.rectangle((0, horizon, CANVAS, CANVAS), fill=ground)
    if scene.weather in ("sun", "night") and not indoors:
        x = int(rng.integers(8, 100))
        pen.ellipse((x, 6, x + 18, 24), fill=_FIXED["light" if night else "glow"])
    on_left = bool(rng.integers(2))  # where the person stands, or else the thing beside; the landmark is opposite
    if scene.landmark:
        thing, colour = scene.landmark
        _paint(
            pen, THINGS[thing], {"main": COLOURS[colour]}, 80 if on_left else 4, horizon + 6, int(rng.integers(40, 52))
        )
    if scene.beside:
        thing, colour = scene.beside
        _paint(pen, THINGS[thing], {"main": COLOURS[colour]}, 2 if on_left else 82, int(rng.integers(92, 104)), 44)
    size, bottom = int(rng.integers(58, 78)), int(rng.integers(100, 122))
    left = int(rng.integers(20, 54))
    if scene.person:
        left = 50 if on_left else 2
    _paint(pen, THINGS[scene.thing], {"main": COLOURS[scene.colour]}, left, bottom, size, flip=bool(rng.integers(2)))
    if scene.burning:
        _paint(pen, _FLAMES, {}, left, bottom - size // 4, size)
    if scene.person:
        coat, other, worn = ATTIRE[scene.person.role]
        fills = {"coat": COLOURS[coat], "main": COLOURS[other]}
        fills |= {"hair": HAIR[scene.person.hair], "skin": SKIN[scene.person.skin]}
        left = int(rng.integers(-12, 0)) if on_left else int(rng.integers(50, 62))
        _paint(pen, f"{_PERSON};{worn}", fills, left, CANVAS, int(rng.integers(84, 100)))
    if not indoors:
        image = _add_weather(image, scene.weather, rng)
    return treat(image, style, rng) if style else image.reduce(2)


def treat(image: Image.Image, style: Style, rng: np.random.Generator) -> Image.Image:
    """Give a picture a style, and its final size."""
    width, height = CANVAS * (1 - rng.uniform(0, style.crop, 2))
    left, top = rng.uniform(0, (CANVAS - width, CANVAS - height))
    image = image.resize((SIZE, SIZE), box=(left, top, left + width, top + height))
    pixels = np.asarray(image, dtype=np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    light = np.asarray(style.tint) / 255 * (1 - style.darkness * rng.random())
    pixels = (grey + (pixels - grey) * (1 - style.muted)) * light + rng.normal(0, style.grain, (SIZE, SIZE, 1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if style.banner:
        pen, top = ImageDraw.Draw(image), int(rng.integers(52, 57))
        pen.rectangle((0, top, SIZE, SIZE), fill=style.banner)
        for x in range(3, int(rng.integers(20, 60)), 5):  # strokes that look like small print
            pen.line((x, top + 4, x + 3, top + 4), fill="white")
    return image


def _paint(pen: ImageDraw.ImageDraw, recipe: str, fills: dict, left: int, bottom: int, size: int, flip=False) -> None:
    """Paint the shapes of a recipe into the square of `size` pixels that stands on `bottom`."""
    scale, width = size / 100, max(3, size // 14)
    for part in recipe.split(";"):
        shape, fill, *points = part.split()
        colour = fills.get(fill) or _FIXED[fill]
        xy = [tuple(map(float, point.split(","))) for point in points]
        xy = [(left + (100 - x if flip else x) * scale, bottom - (100 - y) * scale) for x, y in xy]
        box = [min(x for x, _ in xy), min(y for _, y in xy), max(x for x, _ in xy), max(y for _, y in xy)]
        match shape:
            case "poly":
                pen.polygon(xy, fill=colour)
            case "rect":
                pen.rectangle(box, fill=colour)
            case "oval":
                pen.ellipse(box, fill=colour)
            case "ring":
                pen.ellipse(box, outline=colour, width=width)
            case "line":
                pen.line(xy, fill=colour, width=width)


def _add_weather(image: Image.Image, weather: str, rng: np.random.Generator) -> Image.Image:
    if weather == "fog":
        return Image.blend(image, Image.new("RGB", image.size, SKIES["fog"]), 0.45)
    if weather == "rain":
        pen = ImageDraw.Draw(image)
        for x, y in rng.integers(0, CANVAS, (40, 2)).tolist():
            pen.line((x, y, x - 4, y + 12), fill=(190, 204, 226), width=2)
    return image
