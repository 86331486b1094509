"""Build the demo's two tiny checkpoints from nothing: a CLIP, and a Marian that translates German into English.

    python scripts/build_demo_assets.py                               # replaces the checkpoints inside the package
    python scripts/build_demo_assets.py --assets marian_de_en --output_dir /tmp/assets --seed 1

CLIP does not see the news themselves, only the words they share with the general domain; Marian sees news of a seed of
its own. What they then know is measured on corpora that the demo does not use.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import datasets
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer, set_seed
from transformers.models.clip import CLIPImageProcessorPil

import hf_newsmatch as nm
from hf_newsmatch.data.text import article_texts
from hf_newsmatch.demo import grammar, newsroom
from hf_newsmatch.demo.marian import build_tiny_marian
from hf_newsmatch.errors import exits_cleanly
from hf_newsmatch.translation.sentences import split_sentences
from hf_newsmatch.utils.files import atomic_path

CONTEXT, PIXELS, PATCH = 48, 48, 8
TUNING_SEEDS = (11, 12, 13)  # never 0, the demo's own


def build_tokenizer(texts: Iterable[str], vocab_size: int = 1600) -> CLIPTokenizer:
    """Learn byte-level BPE as CLIP has it, on texts whose words mostly become one token each."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    clip = CLIPTokenizer().backend_tokenizer
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
        ),
    )
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    # In CLIP's order: every byte, every byte at the end of a word, merges, and the end of text last. Transformers
    # finds the end of a text by that id, and takes id 2 for a sign of the first checkpoints, which had it wrong.
    tokens = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys(map("".join, merges))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT)


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP of less than a million parameters, with random weights."""
    tower = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "projection_dim": 96}
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"image_size": PIXELS, "patch_size": PATCH, "num_hidden_layers": 3}
    return CLIPModel(CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=96))


def general_domain(n: int, seed: int) -> datasets.Dataset:
    """`n` pairs of the general domain in the package's schema."""
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("title", "text", "image_id")} | {"image": datasets.Image()}
    )
    return datasets.Dataset.from_list(list(newsroom.general_pairs(n, seed)), features=features)


def zero_shot(model: CLIPModel, processor: CLIPProcessor, seed: int) -> float:
    """MRR@100 on the test part of the news of a seed."""
    with tempfile.TemporaryDirectory() as folder:
        news = newsroom.write_newsroom(Path(folder) / "news", seed=seed)
        articles = nm.load_articles(news / "test_articles.tsv")
        images = nm.load_images(news / "test_images.tsv", news / "images")
        text_embeds = nm.embed_texts(model, processor, article_texts(articles))
        image_embeds = nm.embed_images(model, processor, images["image"])
        ranking = nm.rank(text_embeds, image_embeds, articles["article_id"], images["image_id"])
        return nm.score(ranking, nm.load_gold(news / "test_gold.tsv"))["mrr@100"]


def sentence_pairs(seed: int, n: int) -> list[tuple[str, str]]:
    """The sentences of `n` texts of news and their translations: Marian translates sentence by sentence."""
    pairs: list[tuple[str, str]] = []
    for texts in grammar.parallel_headlines(seed, n):
        german, english = (split_sentences(text, language) for text, language in zip(texts, ("de", "en")))
        sentences = zip(map(str.strip, german), map(str.strip, english))
        pairs += sentences if len(german) == len(english) else [texts]
    return pairs


def exact_matches(folder: Path, pairs: list[tuple[str, str]]) -> float:
    """The share of sentences that are translated word for word as the grammar says."""
    translator = nm.Translator(folder)
    translations = translator.translate([german for german, _ in pairs])
    return sum(ours == english for ours, (_, english) in zip(translations, pairs)) / len(pairs)


def build_marian(args: argparse.Namespace, folder: Path) -> None:
    """The translator of the German portal."""
    build_tiny_marian(sentence_pairs(args.seed, 9_000), folder, seed=args.seed)
    for seed in TUNING_SEEDS:
        print(f"translated exactly, sentences of seed {seed}: {exact_matches(folder, sentence_pairs(seed, 200)):.3f}")


@exits_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--assets", nargs="+", choices=("clip", "marian_de_en"), default=["clip", "marian_de_en"])
    parser.add_argument(
        "--output_dir", default=str(files("hf_newsmatch") / "demo"), help="Each becomes a folder here."
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--num_pairs", type=int, default=20_000, help="Pairs of the general domain to train on.")
    parser.add_argument("--num_train_epochs", type=float, default=6)
    args = parser.parse_args()
    for name in args.assets:
        set_seed(args.seed)
        folder = Path(args.output_dir) / name
        (build_clip if name == "clip" else build_marian)(args, folder)
        print(f"The checkpoint is in {folder}.")


def build_clip(args: argparse.Namespace, folder: Path) -> None:
    """The model that all demo runs begin with."""
    general = general_domain(args.num_pairs, args.seed)
    # names of the news belong to the vocabulary, though training never shows whom they name
    news = [english for _, english in grammar.parallel_headlines(args.seed, 5_000)]
    tokenizer = build_tokenizer([*article_texts(general), *news])
    size = {"height": PIXELS, "width": PIXELS}
    processor = CLIPProcessor(CLIPImageProcessorPil(size={"shortest_edge": PIXELS}, crop_size=size), tokenizer)
    model = build_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens, {len(general):,} pairs")

    with tempfile.TemporaryDirectory() as scratch:
        nm.ContrastiveTrainer(
            model,
            nm.ContrastiveTrainingArguments(
                output_dir=scratch,
                num_train_epochs=args.num_train_epochs,
                per_device_train_batch_size=128,
                learning_rate=1e-3,
                lr_scheduler_type="cosine",
                warmup_steps=0.1,
                coupled_weight_decay=False,
                weight_decay=0.05,
                max_grad_norm=1.0,
                eval_strategy="no",
                save_strategy="no",
                load_best_model_at_end=False,
                report_to="none",
                # nothing recurs in the general domain; with this the checkpoint was built
                distinct_batches=False,
                seed=args.seed,
                use_cpu=True,
            ),
            processor,
            train_dataset=general,
        ).train()

    with atomic_path(folder) as temporary:
        model.half().save_pretrained(temporary)
        processor.save_pretrained(temporary)
    model, processor = nm.load_clip(folder)
    for seed in TUNING_SEEDS:
        print(f"zero-shot MRR@100 on the news of seed {seed}: {zero_shot(model, processor, seed):.3f}")


if __name__ == "__main__":
    main()
