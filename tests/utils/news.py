"""Models small enough to train in a second, pictures, and news in the layouts that people have."""

import string

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from hf_newsmatch.configs import DataArguments

IMAGE_SIZE = 16
CONTEXT = 24


def make_processor() -> CLIPProcessor:
    """A processor whose tokenizer spells words letter by letter."""
    letters = string.ascii_lowercase + string.digits + ".,-"
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        model_max_length=CONTEXT,
    )
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    return CLIPProcessor(image_processor, tokenizer)


def make_model(processor: CLIPProcessor, seed: int = 0, hidden_size: int = 16) -> CLIPModel:
    """A CLIP of a few thousand weights."""
    tower = {
        "hidden_size": hidden_size,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 8,
    }
    tokenizer = processor.tokenizer
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**tower, "image_size": IMAGE_SIZE, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(seed)
    model = CLIPModel(config)
    # the initial weights are tiny: without this, embeddings of different inputs would be nearly equal
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def make_picture(seed: int, size: tuple[int, int] = (20, 18)) -> PILImage.Image:
    """A picture of blocks of colour, different for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return PILImage.fromarray(blocks).resize(size, PILImage.NEAREST)


def make_pairs(folder, count: int = 12, image_ids=None, titles=None, draw: bool = True) -> Dataset:
    """Linked rows of the package's schema, their pictures in `folder`."""
    image_ids = image_ids or [f"p{number}" for number in range(count)]
    for image_id in dict.fromkeys(image_ids) if draw else ():
        make_picture(int(image_id[1:])).save(folder / f"{image_id}.png")
    rows = {
        "article_id": [f"a{number}" for number in range(count)],
        "title": titles or [f"title {number * 7919 % 1000}" for number in range(count)],
        "text": [f"body {number * 104729 % 1000}" for number in range(count)],
        "image_id": list(image_ids),
        "image": [str(folder / f"{image_id}.png") for image_id in image_ids],
        "image_file": [f"{image_id}.png" for image_id in image_ids],
    }
    texts = {name: Value("string") for name in rows}
    return Dataset.from_dict(rows, features=Features({**texts, "image": Image()}))


ORGANISERS_HEADER = ["# article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile", "Date"]


def write_news_folder(folder, count: int = 40, first: int = 0, shared: int = 4):
    """A folder as the task's organisers hand it out: `articles.tsv`, dated and linked, and `images/`.

    The last `shared` articles have the pictures of the first ones.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(ORGANISERS_HEADER)]
    for number in range(first, first + count):
        image = first + (number - first) % (count - shared)
        make_picture(image).save(folder / "images" / f"P{image}.png")
        article = [f"{9000 - number}", f"{number}", f"https://news.example/{number}", "", f"P{image}", ""]
        day = f"2022-{1 + number // 28:02}-{1 + number % 28:02}"
        lines.append("\t".join([*article, f"Title {number * 7919 % 1000}", f"About p{image}", f"P{image}.png", day]))
    (folder / "articles.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_test_lists(folder, linked) -> None:
    """The two unlinked lists and the gold that belong to the linked articles of another folder."""
    header, *rows = [line.split("\t") for line in (linked / "articles.tsv").read_text().splitlines()]
    images = dict.fromkeys((row[4], row[8]) for row in rows)
    texts = [[*row[:3], "", "", "", *row[6:8], "", ""] for row in rows]
    pictures = [["", "", "", "", iid, "", "", "", file, ""] for iid, file in sorted(images)]
    for name, lines in {"test_articles.tsv": texts, "test_images.tsv": pictures}.items():
        (folder / name).write_text("\n".join("\t".join(line) for line in [header, *lines]) + "\n")
    gold = ["articleID\tiid", *(f"{row[0]}\t{row[4]}" for row in rows)]
    (folder / "test_gold.tsv").write_text("\n".join(gold) + "\n")


def arguments(folder, **kwargs) -> DataArguments:
    """The linked list of a folder."""
    return DataArguments(articles_file=str(folder / "articles.tsv"), **kwargs)


def with_test_lists(folder) -> dict[str, str]:
    """What names the lists that [`write_test_lists`] wrote there."""
    return {
        "test_articles_file": str(folder / "test_articles.tsv"),
        "test_images": str(folder / "test_images.tsv"),
        "gold_file": str(folder / "test_gold.tsv"),
        "image_dir": str(folder / "images"),
    }
