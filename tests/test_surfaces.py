"""Whole surfaces of foreign input, mutated: a `NewsMatchError` of one short sentence, or a result that holds.

Each example takes at most 5 seconds, all of them together at most 1 GiB more than before. The examples are always the
same ones; `NEWSMATCH_EXAMPLES=20 pytest tests/test_surfaces.py` tries twenty times as many, at random.
"""

import contextlib
import copy
import io
import json
import os
import random
import resource
import shutil
import struct

import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from datasets import disable_progress_bars, enable_progress_bars
from hypothesis import HealthCheck, Phase, given, settings
from safetensors import safe_open

from hf_newsmatch import (
    NewsMatchError,
    load_articles,
    load_clip,
    load_gold,
    load_images,
    load_pairs,
    read_predictions,
    score,
)
from hf_newsmatch.commands.parser import TRAINING_ARGUMENTS, parse_arguments
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.data.images import open_picture
from hf_newsmatch.experiment.record import Record
from hf_newsmatch.merging.interpolation import read_alphas
from hf_newsmatch.models.weights import open_weights, weights_sha256
from hf_newsmatch.utils.resources import resource_dir
from tests.experiment.test_record import FIRST_FORMAT
from tests.utils.news import ORGANISERS_HEADER

FACTOR = int(os.environ.get("NEWSMATCH_EXAMPLES", "1"))
LONGEST, SECONDS, BYTES = 500, 5, 2**30


def examples(count: int):
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        phases=[Phase.generate],  # seeds have nothing to shrink
        deadline=SECONDS * 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def _bounds():
    disable_progress_bars()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    enable_progress_bars()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES


@contextlib.contextmanager
def one_sentence():
    """Let a refusal pass that is one short sentence; anything else that is raised fails the test."""
    try:
        yield
    except NewsMatchError as error:
        message = str(error)
        assert 10 < len(message) < LONGEST, message[:1000]
        assert "\n" not in message
        assert "Traceback" not in message
        message.encode()


# ---- mutations ------------------------------------------------------------------------------------------------------

MARKS = (b"\0", b'"', b"'", b"\n", b"\r\n", b"\t", b",", b";", b"\\", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe4\xf6")
LONG = (b"[" * 20_000, b'{"a":' * 5_000, b"9" * 5_000, b"x" * 10_000)
WORDS = (
    b"1e999",
    b"-1",
    b"NaN",
    b"null",
    b"<script>",
    b"../../x",
    b"\x1b[2J",
    b"=1+1",
    b"sep=;\n",
    b"---\n",
    b"&a [*a]",
)
UNICODE = ("Lo\u0308we".encode(), "\u2028".encode(), "\u202e".encode(), b"\xed\xa0\x80", b"!!python/x")
CHUNKS = [*MARKS, *LONG, *WORDS, *UNICODE]
NUMBERS = (None, True, -1, 0, 1.5, 10**400, 10**12, 1e308, float("nan"))
STRINGS = (
    "",
    " ",
    "x" * 10_000,
    "\ud800",
    "a\nb",
    "a\tb",
    '"',
    "../../etc/passwd",
    "/etc/passwd",
    "\0",
    "2022-13-45",
    "1",
)
VALUES = [*NUMBERS, *STRINGS, [], {}, [[]], {"a": {"b": []}}, [1, "a", None]]


def mutated(content: bytes, seed: int) -> bytes:
    """Some bytes exchanged, cut out, doubled, or something hostile put between."""
    generator, made = random.Random(seed), bytearray(content)
    for _ in range(generator.randint(1, 4)):
        at = generator.randint(0, len(made))
        kind = generator.randint(0, 5)
        if kind == 0 and made:
            made[min(at, len(made) - 1)] = generator.randrange(256)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            del made[at : at + generator.randint(1, 40)]
        elif kind == 3:
            made[at:at] = made[at : at + generator.randint(1, 200)]
        else:
            made[at:at] = generator.choice(CHUNKS)
    return bytes(made)


def mutated_json(value, seed: int):
    """A copy of which one or two values, somewhere, are others, are gone, or have other names."""
    generator, made = random.Random(seed), copy.deepcopy(value)
    for _ in range(generator.randint(1, 2)):
        holder = made
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = generator.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and generator.random() < 0.8:
                holder = holder[key]
                continue
            kind = generator.randint(0, 5)
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(holder, dict):
                holder[generator.choice(["", "x", "__class__", "\ud800"])] = holder.pop(key)
            else:
                holder[key] = copy.deepcopy(generator.choice(VALUES))
            break
    return made


def write_json(value, file) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("s")


# ---- lists and predictions ------------------------------------------------------------------------------------------

OURS = {
    "article_id": ["1", "2", "3"],
    "title": ["Sturm im Hafen", 'Er sagt: "Nein"', "Straße, gesperrt"],
    "text": ["Der Hafen ist zu.", "", "Seit\tgestern"],
    "published": ["2022-01-01", "2022-01-02T10:00:00Z", "2022-01-03"],
    "image_id": ["a", "b", "a"],
}


def as_table(name: str) -> bytes:
    rows = list(zip(*OURS.values()))
    if name.endswith((".csv", ".tsv")):
        mark = "," if name.endswith(".csv") else "\t"
        cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
        return "\n".join(mark.join(row) for row in [list(OURS), *cells]).encode() + b"\n"
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps(dict(zip(OURS, row)), ensure_ascii=False) for row in rows).encode() + b"\n"
    if name.endswith(".json"):
        return json.dumps([dict(zip(OURS, row)) for row in rows]).encode()
    if name.endswith(".parquet"):
        stream = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(OURS), stream)
        return stream.getvalue()
    organisers = ["9", "1", "https://n.example/1", "", "P1", "", "Titel", "Text", "P1.png", "2022-01-01"]
    return "\n".join("\t".join(row) for row in [ORGANISERS_HEADER, organisers]).encode() + b"\n"


TABLES = ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "organisers.txt"]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_lists(folder, name, skip):
    content = as_table(name)

    @examples(6)
    @given(SEEDS)
    def check(seed):
        (folder / name).write_bytes(mutated(content, seed))
        for load in (load_pairs, load_articles):
            with one_sentence():
                rows = load(folder / name, skip_bad_rows=skip)
                ids = rows["article_id"][:]
                assert ids
                assert len(set(ids)) == len(ids)
                assert not any(set(article_id) & set("\t\r\n") for article_id in ids)
        with one_sentence():
            images = load_images(folder / name, skip_bad_rows=skip)
            assert len(set(images["image_id"])) == len(images)

    check()


def test_gold_lists(folder):
    @examples(20)
    @given(SEEDS)
    def check(seed):
        (folder / "gold.tsv").write_bytes(mutated(b"articleID\tiid\n1\ta\n2\tb\n3\tc\n", seed))
        with one_sentence():
            gold = load_gold(folder / "gold.tsv")
            assert gold
            assert all(map(str.strip, [*gold, *gold.values()]))

    check()


def test_prediction_files(folder):
    lines = [f"{article}\t{rank}\tp{rank}" for article in range(3) for rank in range(1, 6)]
    wide = ["id\t" + "\t".join(map(str, range(1, 6)))] + ["\t".join([str(a), *"vwxyz"]) for a in range(3)]

    @examples(40)
    @given(SEEDS)
    def check(seed):
        content = "\n".join([lines, wide][seed % 2]).encode() + b"\n"
        (folder / "run.tsv").write_bytes(mutated(content, seed))
        with one_sentence():
            ranking = read_predictions(folder / "run.tsv")
            assert len(set(ranking.article_ids)) == len(ranking.article_ids)
            # repeated pictures are found when a list is scored
            assert 0 <= score(ranking, {"0": "p1", "1": "v", "2": "p5"})["mrr@100"] <= 1

    check()


# ---- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(checkpoints, folder):
    shutil.copytree(checkpoints / "fine_tuned", folder / "clip")
    return folder / "clip"


@pytest.mark.parametrize(
    ("name", "count"),
    [("config.json", 30), ("tokenizer.json", 10), ("tokenizer_config.json", 10), ("processor_config.json", 20)],
)
def test_settings_of_a_checkpoint(checkpoint, name, count):
    content = (checkpoint / name).read_bytes()

    @examples(count)
    @given(SEEDS)
    def check(seed):
        if seed % 4:
            write_json(mutated_json(json.loads(content), seed), checkpoint / name)
        else:
            (checkpoint / name).write_bytes(mutated(content, seed))
        with one_sentence():
            model, processor = load_clip(checkpoint)
            inputs = processor(
                text=["a storm"], images=[PIL.Image.new("RGB", (9, 7))], return_tensors="pt", truncation=True
            )
            assert model(**inputs).logits_per_image.shape == (1, 1)

    try:
        check()
    finally:
        (checkpoint / name).write_bytes(content)


def test_headers_of_safetensors(checkpoint):
    file = checkpoint / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]

    @examples(40)
    @given(SEEDS)
    def check(seed):
        if seed % 3:
            encoded = json.dumps(mutated_json(header, seed)).encode()
            encoded += b" " * (-len(encoded) % 8)
            file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + rest)
        else:
            file.write_bytes(mutated(content, seed))
        with one_sentence(), open_weights(checkpoint) as weights, safe_open(file, framework="np") as expected:
            names = expected.keys()
            assert set(weights.names) == {name for name in names if not name.endswith("position_ids")}
            for name in weights.names[:5]:
                assert np.array_equal(weights.arrays[name], expected.get_tensor(name), equal_nan=True)
        if not seed % 4:
            with one_sentence():
                load_clip(checkpoint)

    try:
        check()
    finally:
        file.write_bytes(content)


def test_indexes_of_shards(checkpoint):
    weights, index = checkpoint / "model.safetensors", checkpoint / "model.safetensors.index.json"
    kept = weights.rename(checkpoint / "model-1.safetensors")
    whole = {"metadata": {"total_size": 1}, "weight_map": {"logit_scale": kept.name, "a.weight": kept.name}}

    @examples(20)
    @given(SEEDS)
    def check(seed):
        if seed % 4:
            write_json(mutated_json(whole, seed), index)
        else:
            index.write_bytes(mutated(json.dumps(whole).encode(), seed))
        with one_sentence():
            assert weights_sha256(checkpoint) is None or len(weights_sha256(checkpoint)) == 64

    try:
        check()
    finally:
        index.unlink()
        kept.rename(weights)


# ---- records, recipes, pictures -------------------------------------------------------------------------------------


def test_records(folder):
    file = folder / "newsmatch.json"

    @examples(120)
    @given(SEEDS)
    def check(seed):
        if seed % 4:
            write_json(mutated_json(FIRST_FORMAT, seed), file)
        else:
            file.write_bytes(mutated(json.dumps(FIRST_FORMAT).encode(), seed))
        with one_sentence():
            record = Record.load(file)
            record.save(folder / "again.json")
            # NaN is written as null, and then nothing changes any more
            Record.load(folder / "again.json").save(folder / "twice.json")
            assert (folder / "twice.json").read_bytes() == (folder / "again.json").read_bytes()

    check()


@pytest.mark.parametrize("name", ["demo.yaml", "rss.yaml"])
def test_recipes(folder, name):
    content = (resource_dir("recipes") / name).read_bytes()

    @examples(15)
    @given(SEEDS)
    def check(seed):
        values = mutated(content, seed)
        if seed % 2:
            values = yaml.safe_dump(mutated_json(yaml.safe_load(content), seed)).encode("utf-8", "surrogatepass")
        (folder / "recipe.yaml").write_bytes(values)
        argv = ["--config", str(folder / "recipe.yaml"), "--output_dir", str(folder / "out")]
        stderr, code = io.StringIO(), 2
        with one_sentence(), contextlib.redirect_stderr(stderr):
            try:
                parse_arguments(DataArguments, ModelArguments, TRAINING_ARGUMENTS, description="Train.", argv=argv)
            except SystemExit as ended:
                # argparse says itself what is wrong
                code = ended.code
                if not 10 < len(stderr.getvalue()) < LONGEST or stderr.getvalue().count("\n") != 1:
                    raise AssertionError(stderr.getvalue()[:1000]) from ended
        assert code == 2

    check()


BOMB = "a: &a [1]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi"))


@pytest.mark.parametrize(
    "recipe",
    [
        BOMB,
        "optim: &a [*a]\n",
        "[" * 20_000,
        "seed: " + "9" * 5_000,
        "seed: 2022-13-45",
        "optim: !!python/name:os.system",
    ],
)
def test_recipes_that_grow_or_never_end(folder, recipe):
    (folder / "recipe.yaml").write_text(recipe)
    argv = ["--config", str(folder / "recipe.yaml")]
    with pytest.raises(NewsMatchError, match=r"The recipe .* (holds more than|is not YAML)"):
        parse_arguments(DataArguments, ModelArguments, TRAINING_ARGUMENTS, description="Train.", argv=argv)
    with pytest.raises(NewsMatchError, match=r"(is not YAML|must hold lines)"):
        read_alphas(folder / "recipe.yaml")


FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "PCX", "QOI", "SGI", "DDS", "PSD"]


@pytest.mark.parametrize("format", FORMATS)
def test_pictures(format):
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8))
    stream = io.BytesIO()
    if format == "PSD":
        stream.write(b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 12, 9, 8, 3) + bytes(14))
        stream.write(np.asarray(picture).transpose(2, 0, 1).tobytes())
    else:
        picture.save(stream, format)
    assert open_picture(stream.getvalue()).size == (9, 12)

    @examples(30)
    @given(SEEDS)
    def check(seed):
        with one_sentence():
            opened = open_picture(mutated(stream.getvalue(), seed))
            assert opened.mode == "RGB"
            opened.getpixel((0, 0))

    check()
