import io
import pickle
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from datasets import Dataset, Features, Image, Value

from hf_newsmatch.data.images import (
    PictureError,
    check_pictures,
    drop_unusable,
    open_picture,
    undecoded,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encode(picture, format="PNG", **options):
    content = io.BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def noise(size=(64, 48), mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def bomb(width=20_000, height=20_000):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


BROKEN = {
    "empty file": b"",
    "not an image": b"<html>404 Not Found</html>",
    "truncated": encode(noise(), "JPEG")[:1500],
    "too large": bomb(),
}


def test_all_ways_to_name_a_picture(tmp_path):
    picture = PIL.Image.new("RGB", (3, 2), RED)
    path = tmp_path / "a.png"
    picture.save(path)
    content = path.read_bytes()
    for image in (
        path,
        str(path),
        content,
        {"path": str(path), "bytes": None},
        {"path": None, "bytes": content},
        picture,
    ):
        opened = open_picture(image)
        assert (opened.mode, opened.size, opened.getpixel((0, 0))) == ("RGB", (3, 2), RED)


def palette(transparency=None):
    picture = PIL.Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((1, 0), 1)
    return encode(picture, **({} if transparency is None else {"transparency": transparency}))


def half(mode):
    picture = PIL.Image.new("RGBA", (2, 1), (*RED, 255))
    picture.putpixel((1, 0), (*RED, 0))
    return encode(picture.convert(mode))


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (palette(), [RED, GREEN]),
        (palette(transparency=1), [RED, WHITE]),
        (palette(transparency=b"\xff\x00"), [RED, WHITE]),
        (half("RGBA"), [RED, WHITE]),
        (half("LA"), [(76, 76, 76), WHITE]),
        (encode(PIL.Image.new("1", (1, 1), 1)), [WHITE]),
        (encode(PIL.Image.new("L", (1, 1), 7)), [(7, 7, 7)]),
        (encode(PIL.Image.new("RGB", (1, 1), GREEN), transparency=GREEN), [WHITE]),
        (encode(PIL.Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [RED]),
        (encode(PIL.Image.fromarray(np.array([[0, 32896, 65535]], np.uint16))), [(0,) * 3, (128,) * 3, WHITE]),
        (encode(PIL.Image.fromarray(np.array([[0, 65535]], np.int32)), "TIFF"), [(0,) * 3, WHITE]),
        (encode(PIL.Image.fromarray(np.array([[0.0, 1.0, np.nan]], np.float32)), "TIFF"), [(0,) * 3, WHITE, (0,) * 3]),
    ],
    ids=[
        "palette",
        "transparent-palette",
        "bytes-palette",
        "rgba",
        "la",
        "1-bit",
        "gray",
        "rgb-key",
        "cmyk",
        "16-bit",
        "32-bit",
        "float",
    ],
)
def test_every_kind_becomes_rgb_over_white(content, pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_picture(content)
    assert opened.mode == "RGB"
    assert [tuple(pixel) for pixel in np.asarray(opened)[0].tolist()] == pixels


def test_cmyk_jpeg():
    # Pillow writes and reads CMYK JPEG files the way Adobe does, inverted
    red = open_picture(encode(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((4, 4))
    assert red[0] > 245
    assert max(red[1:]) < 10


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, format):
    upright = PIL.Image.new("RGB", (32, 16), WHITE)
    upright.paste(RED, (0, 0, 8, 8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that turns it as a camera would store it
    stored = upright.transpose(PIL.Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    content = encode(stored, format, exif=exif, **options)
    handed_in = PIL.Image.open(io.BytesIO(content))
    for image in (content, handed_in):
        opened = open_picture(image)
        assert opened.size == (32, 16)
        assert np.abs(np.asarray(opened).astype(int) - np.asarray(upright).astype(int)).max() < 40
    # a picture of the caller's stays as it is (Pillow itself turns a TIFF when it loads it)
    if format != "TIFF":
        assert handed_in.size == stored.size


def test_broken_exif_is_no_reason_to_refuse():
    content = encode(PIL.Image.new("RGB", (8, 8)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(content).size == (8, 8)


# a tag that Pillow reads without harm but cannot write again: its kind, type, count and value
@pytest.mark.parametrize("entry", [(0x100, 1, 1, 0), (0x8769, 6, 1, 2**31), (0x10F, 11, 1, 0), (0x2BC, 2, 1, 0)])
def test_exif_data_that_cannot_be_written_again_still_say_the_orientation(entry):
    upside = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + upside + struct.pack(">HHII", *entry) + bytes(4)
    content = encode(PIL.Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((struct.error, ValueError, AttributeError, TypeError)):
            PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content)))
        warnings.simplefilter("error")
        assert open_picture(content).size == (4, 8)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_animations(format):
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert PIL.Image.open(io.BytesIO(content)).n_frames == 2
    assert open_picture(content).getpixel((0, 0)) == RED


@pytest.mark.parametrize("reason", BROKEN)
def test_unusable_pictures_say_why(tmp_path, reason):
    path = tmp_path / "bad.jpg"
    path.write_bytes(BROKEN[reason])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match=r"bad\.jpg cannot be used") as error:
            open_picture(path)
    assert error.value.reason == reason


def test_large_pictures_below_the_limit_print_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match=r"truncated|damaged"):
            open_picture(bomb(10_000, 10_000))


@pytest.mark.parametrize("image", [None, "no/such/file.jpg", {"path": None, "bytes": None}])
def test_missing_pictures(image):
    with pytest.raises(PictureError) as error:
        open_picture(image)
    assert error.value.reason == "missing"


def test_other_things_than_pictures(tmp_path):
    with pytest.raises(PictureError) as error:
        open_picture(tmp_path)
    assert error.value.reason == "unreadable"
    with pytest.raises(PictureError) as error:
        open_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert error.value.reason == "not an image"


def test_any_damage_is_a_picture_error():
    generator = np.random.default_rng(1)
    for content in (encode(noise(), "JPEG"), encode(noise()), encode(noise(), "WEBP"), encode(noise(), "GIF")):
        for _ in range(40):
            damaged = bytearray(content)
            for at in generator.integers(0, len(content), 5):
                damaged[at] = generator.integers(0, 256)
            # whatever else it raises fails the test
            with suppress(PictureError):
                assert open_picture(bytes(damaged[: generator.integers(1, len(content))])).mode == "RGB"


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(PictureError("truncated", "a.jpg")))
    assert (str(error), error.reason) == ("a.jpg cannot be used: truncated.", "truncated")


@pytest.fixture
def dataset(tmp_path):
    contents = {"good": encode(noise()), **BROKEN}
    rows = []
    for name, content in contents.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content)
        rows += [{"image_id": name, "image": str(path), "image_file": path.name}] * 2
    rows += [
        {"image_id": "missing", "image": None, "image_file": "missing.jpg"},
        {"image_id": "outside", "image": None, "image_file": "../outside.jpg"},
        {"image_id": None, "image": None, "image_file": None},
    ]
    features = Features({"image_id": Value("string"), "image": Image(), "image_file": Value("string")})
    return Dataset.from_list(rows, features=features)


def test_undecoded_gives_the_files_and_opens_none(dataset):
    images = undecoded(dataset)["image"][:]
    assert [image and image["path"] for image in images] == [
        image and image["path"] for image in dataset.with_format("arrow")["image"].to_pylist()
    ]
    assert images[2]["path"].endswith("empty file.jpg")
    assert images[-1] is None


def test_check_lists_every_unusable_picture_once(dataset):
    unusable = check_pictures(dataset, num_proc=2)
    assert [(picture["image_id"], picture["reason"]) for picture in unusable] == [
        *((reason, reason) for reason in BROKEN),
        ("missing", "missing"),
        ("outside", "outside the folder"),
    ]
    assert unusable[0]["image_file"] == "empty file.jpg"


def test_what_is_left_has_a_picture_in_every_row(dataset, caplog):
    left = drop_unusable(dataset, check_pictures(dataset))
    assert left["image_id"][:] == ["good", "good"]
    assert "Left out 11 of 13 rows" in caplog.text
    assert drop_unusable(left, []) is left
