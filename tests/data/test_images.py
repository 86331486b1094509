import io
import os
import pickle
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from datasets import Dataset, Features, Image, Value

from hf_newsmatch.data import image_samples, images
from hf_newsmatch.data.image_samples import to_rgb
from hf_newsmatch.data.images import (
    PictureError,
    check_pictures,
    drop_unusable,
    open_picture,
    thumbnail,
    undecoded,
)
from hf_newsmatch.errors import NewsMatchError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encode(picture, format="PNG", **options):
    content = io.BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def noise(size=(64, 48), mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def bomb(width=20_000, height=20_000, color=2):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def png(depth, color, samples, transparent=None):
    """A PNG of one row, of a depth that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 4: 2}[color]
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    row = b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    header = struct.pack(">IIBBBBB", len(samples) // channels, 1, depth, color, 0, 0, 0)
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    chunks = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(bits, samples, white_is_zero=False, highest=None):
    """A gray TIFF of one row, of any depth."""
    packed = "".join(f"{sample:0{bits}b}" for sample in samples)
    data = int(packed.ljust(-(-len(packed) // 8) * 8, "0"), 2).to_bytes(-(-len(packed) // 8), "big")
    if bits == 16:
        data = struct.pack(f"<{len(samples)}H", *samples)
    tags = [(256, len(samples)), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(277, 1), (278, 1), (279, len(data)), *([(281, highest)] if highest else [])]
    tags = sorted([*tags, (273, 8 + 2 + 12 * (len(tags) + 1) + 4)])
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


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


# the right values by hand: a sample over its highest, times 255; white where it is transparent
@pytest.mark.parametrize(
    ("content", "grays"),
    [
        (tiff(12, [0, 2048, 4095]), [0, 128, 255]),
        (tiff(12, [0, 1024, 3072, 4095]), [0, 64, 191, 255]),
        (tiff(16, [0, 32896, 65535]), [0, 128, 255]),
        (tiff(16, [0, 512, 1023], highest=1023), [0, 128, 255]),
        (tiff(16, [0, 32896, 65535], white_is_zero=True), [255, 127, 0]),
        (tiff(16, [0, 2048, 4095]), [0, 128, 255]),  # 12 or 10 of the 16 bits are used, and nothing says so
        (tiff(16, [0, 512, 1023]), [0, 128, 255]),
        (tiff(16, [0, 4096, 65535]), [0, 16, 255]),
        (encode(PIL.Image.fromarray(np.array([[0.5, 1, np.inf, np.nan]], np.float32)), "TIFF"), [128, 255, 255, 0]),
        (tiff(8, [0, 100, 255], white_is_zero=True), [255, 155, 0]),
        (encode(PIL.Image.fromarray(np.array([[0, 51400, 65535]], np.uint16)), "JPEG2000"), [0, 200, 255]),
        (b"P2 3 1 4095\n0 2048 4095\n", [0, 128, 255]),
        (b"P5 2 1 4095\n" + struct.pack(">2H", 16, 32), [1, 2]),
        (png(16, 0, [100, 32896, 65535], (100,)), [255, 128, 255]),
        (png(16, 0, [100, 0, 65535], (65535,)), [0, 0, 255]),
        (png(16, 4, [51400, 65535, 100, 0]), [200, 255]),
        (png(8, 0, [200, 10, 0], (10,)), [200, 255, 0]),
        (png(4, 0, [5, 15, 0, 6], (5,)), [255, 255, 0, 102]),
        (png(2, 0, [0, 1, 2, 3], (1,)), [0, 255, 170, 255]),
        (png(2, 0, [0, 1, 2, 3], (0,)), [255, 85, 170, 255]),
        (png(1, 0, [0, 1], (0,)), [255, 255]),
        (png(1, 0, [0, 1], (1,)), [0, 255]),
        (png(16, 2, [51400] * 3 + [257] * 3, (257, 257, 257)), [200, 255]),
    ],
)
def test_gray_of_any_depth_and_with_transparency(content, grays):
    assert np.asarray(open_picture(content))[0].tolist() == [[gray] * 3 for gray in grays]
    # and from an open picture, which stays as it is
    handed_in = PIL.Image.open(io.BytesIO(content))
    mode = handed_in.mode
    assert np.asarray(open_picture(handed_in))[0].tolist() == [[gray] * 3 for gray in grays]
    assert handed_in.mode == mode


def test_what_is_converted_in_bands_is_what_is_converted_whole(monkeypatch):
    deep = np.random.default_rng(0).integers(0, 65536, (37, 23), dtype=np.uint16)
    alpha = PIL.Image.fromarray(np.random.default_rng(1).integers(0, 256, (37, 23, 4), dtype=np.uint8), "RGBA")
    whole = PIL.Image.alpha_composite(PIL.Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB")
    for band in (1, 50, 10**6):
        monkeypatch.setattr(image_samples, "_BAND", band)
        opened = np.asarray(open_picture(encode(PIL.Image.fromarray(deep))))
        assert np.array_equal(opened[..., 1], (deep / 257).round())
        assert np.array_equal(np.asarray(open_picture(encode(alpha))), np.asarray(whole))


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


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I;16", "RGB", "RGBA", "CMYK"])
def test_no_mode_takes_more_bytes_than_the_limit(mode, monkeypatch):
    """A picture of just less and one of just more, with the limits a thousandth of what they are."""
    monkeypatch.setattr(images, "MAX_BYTES", 2**19)
    monkeypatch.setattr(images, "MEMORY", 2**19 + 2**18)
    format = "TIFF" if mode == "CMYK" else "PNG"
    # as RGB 4 bytes a pixel, beside what it is decoded to; RGB in a PNG may have to be turned
    pixel = {"1": 1, "L": 1, "P": 1, "I;16": 2}.get(mode, 4) + 4
    most = min(2**19 // 4, (2**19 + 2**18) // pixel)
    assert open_picture(encode(PIL.Image.new(mode, (64, most // 64)), format)).size == (64, most // 64)
    with pytest.raises(PictureError, match="too large"):
        open_picture(encode(PIL.Image.new(mode, (64, most // 64 + 1)), format))


def test_a_progressive_jpeg_takes_the_bytes_of_its_coefficients_too(monkeypatch):
    monkeypatch.setattr(images, "MEMORY", 64 * 64 * 8)
    picture = PIL.Image.new("RGB", (64, 64))
    assert open_picture(encode(picture, "JPEG")).size == (64, 64)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", progressive=True)
    with pytest.raises(PictureError, match="too large"):
        open_picture(stream.getvalue())


def test_gray_with_its_transparency_taken_off_is_over_white():
    gray = PIL.Image.merge("LA", [PIL.Image.new("L", (1, 1), 100)] * 2)
    assert open_picture(gray.convert("La")).getpixel((0, 0)) == open_picture(gray).getpixel((0, 0))


def test_a_bomb_of_transparent_pixels_is_refused_before_it_is_decoded():
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match="too large"):
            open_picture(bomb(13_300, 13_300, color=6))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_threads_share_the_memory(monkeypatch):
    """Of four pictures of 40 % of the memory each, two are decoded at a time."""
    content = encode(noise((64, 64), "RGBA"))
    monkeypatch.setattr(images, "_memory", images._Memory(64 * 64 * 8 * 5 // 2))
    now, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2, timeout=10)

    def slowly(picture, samples):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait()  # not before two are here
        with lock:
            now -= 1
        return to_rgb(picture, samples)

    monkeypatch.setattr(images, "to_rgb", slowly)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(open_picture, [content] * 4))
    assert [picture.size for picture in opened] == [(64, 64)] * 4
    assert most == 2
    assert images._memory._left == 64 * 64 * 8 * 5 // 2


def test_a_pipe_or_a_device_holds_up_nothing(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    for name in ("a.jpg", "b.jpg"):
        for image in (tmp_path / name, {"path": str(tmp_path / name), "bytes": None}):
            with pytest.raises(PictureError, match=f"{name} cannot be used: not a regular file"):
                open_picture(image)
            with pytest.raises(PictureError, match="not a regular file"):
                thumbnail({"path": str(tmp_path / name), "bytes": None}, 32)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with open(tmp_path / "a.jpg", "wb") as stream:
        stream.write(encode(noise(), "JPEG"))
        stream.truncate(2**40)
    begin = time.perf_counter()
    with pytest.raises(PictureError, match="too large"):
        open_picture(tmp_path / "a.jpg")
    assert time.perf_counter() - begin < 1


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


@pytest.mark.parametrize("name", ["a cannot be used: b.jpg", "dir/L\u00f6we.jpg", None])
def test_a_picture_that_breaks_in_a_data_worker_keeps_its_name_and_reason(name):
    with pytest.raises(PictureError) as error:
        in_a_worker(PictureError("truncated", name)).reraise()
    assert (error.value.reason, error.value.name) == ("truncated", name)
    assert str(error.value) == f"{name or 'The picture'} cannot be used: truncated."


def in_a_worker(error):
    try:
        raise error
    except NewsMatchError:
        return torch._utils.ExceptionWrapper(where="in DataLoader worker process 0")


def test_a_sentence_of_a_data_worker_stays_one_sentence():
    def collate(rows):
        raise NewsMatchError("list.tsv, line 3: no picture.")

    with pytest.raises(NewsMatchError) as error:
        list(torch.utils.data.DataLoader([1], num_workers=1, collate_fn=collate))
    assert str(error.value) == "list.tsv, line 3: no picture."


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
