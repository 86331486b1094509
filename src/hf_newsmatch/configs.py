"""The options of each command as dataclasses: pure data, which flags and recipes fill."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .utils.resources import resource_dir

DEFAULT_OUTPUT_DIR = "outputs/demo"
DEFAULT_TRANSLATION_MODEL = "Helsinki-NLP/opus-mt-de-en"
MAX_RANK = 100  # the task accepts this many pictures of each article; nothing beyond counts
RERANKERS = ("none", "dual_softmax", "csls", "querybank", "sinkhorn", "assignment", "neighbours")
PAPER_DATASETS = ("rt", "tw", "rss")
DTYPES = ("auto", "bfloat16", "float16", "float32")
LONG_TEXT = ("truncate", "pool")

_DTYPE_HELP = (
    "Precision in which texts and pictures are embedded: float32, bfloat16 or float16, or auto for what the machine is"
    " fast in (bfloat16 on an accelerator or a processor with instructions for it, else float16 on an accelerator and"
    " float32 on a processor)."
)


# Between the files of one list: records and messages name them in one string.
_BETWEEN_FILES = " + "


# What a switch takes beside yes and no.
SWITCH_WORDS = {"translate": ("auto",)}


def join_files(files: Any) -> str | None:
    """The one string that names a list of one or several files; a single name stays as it is."""
    if isinstance(files, list | tuple):
        return _BETWEEN_FILES.join(map(str, files)) or None
    return files if files is None else str(files)


def split_files(files: "str | os.PathLike") -> list[str]:
    """The files that [`join_files`] joined; the name of a file that is there is never split."""
    return [str(files)] if Path(files).exists() else str(files).split(_BETWEEN_FILES)


@dataclass
class DataArguments:
    """Where texts and pictures come from and how they are split."""

    _argument_group_name = "data"

    demo: str | None = field(
        default=None,
        metadata={"help": "Draw a corpus of the embedded demo newsroom instead of reading files: feed or portal."},
    )
    corpus_seed: int = field(default=0, metadata={"help": "With --demo: the seed of the corpus."})
    articles_file: str | None = field(
        default=None,
        metadata={
            "help": "Linked articles to train and validate on: a list of any NewsImages edition, or a Hub id; several"
            " files are read as one list.",
            "nargs": "+",
        },
    )
    image_dir: str | None = field(
        default=None, metadata={"help": "Folder of their pictures; by default `images` beside the articles file."}
    )
    test_articles_file: str | None = field(
        default=None,
        metadata={"help": "Articles to predict for, when the edition has a test list; one or several.", "nargs": "+"},
    )
    test_images: str | None = field(
        default=None,
        metadata={
            "help": "Candidate pictures of the test split, a list or a folder; by default those that its list links."
        },
    )
    test_image_dir: str | None = field(
        default=None, metadata={"help": "Folder of the test pictures; by default --image_dir."}
    )
    gold_file: str | None = field(
        default=None, metadata={"help": "The true picture of each test article, where it is known."}
    )
    text_fields: list[str] = field(
        default_factory=lambda: ["title", "text"],
        metadata={"help": "The columns that the text tower reads, joined by '. ' and cut at the end."},
    )
    holdout_test: bool | None = field(
        default=None,
        metadata={
            "help": "Hold out the newest 20 %% of the articles file as the test split; by default when there is no"
            " --test_articles_file. With false, all of it goes to the training and validation splits."
        },
    )
    train_fraction: float = field(default=0.8, metadata={"help": "Share of the pairs to train on, the oldest ones."})
    sort_by: str | None = field(
        default=None,
        metadata={
            "help": "The order of time: published, date_number or file (the list's own order). By default the first"
            " of these that every row has."
        },
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be read, and list them, instead of stopping."}
    )
    several_pictures: str = field(
        default="refuse",
        metadata={
            "help": "An article in several rows with different pictures: refuse the further rows, keep the first, or"
            " all as pairs."
        },
    )
    use_english_columns: bool = field(
        default=True, metadata={"help": "Take the English columns of a list that has them (titleEN, textEN)."}
    )
    translate: bool | str = field(
        default=False,
        metadata={
            "help": "Translate articles that are not in English, cached by content; with auto, unless the model reads"
            " their language."
        },
    )
    translation_model: str = field(
        default=DEFAULT_TRANSLATION_MODEL,
        metadata={
            "help": "A Marian checkpoint into English, a Hub id or a folder; 'demo' is the tiny one in the package."
        },
    )
    translation_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the translation model."}
    )
    max_sentences: int | None = field(
        default=None, metadata={"help": "Sentences of a text to translate; the rest is left out. By default all."}
    )

    def __post_init__(self):
        _check_least(self, corpus_seed=0)
        if self.translate not in (True, False, "auto"):
            raise ValueError(f"--translate is true, false or auto, not {self.translate}.")
        self.articles_file = join_files(self.articles_file)
        self.test_articles_file = join_files(self.test_articles_file)


@dataclass
class ModelArguments:
    """The checkpoint that all steps start from."""

    _argument_group_name = "model"

    model_name_or_path: str = field(
        default="openai/clip-vit-base-patch32",
        metadata={"help": "A checkpoint, a Hub id or a folder; 'demo' is the tiny CLIP in the package."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    model_languages: list[str] | None = field(
        default=None,
        metadata={
            "help": "For --translate auto: the codes of the languages that the model reads, or *; by default those of"
            " its kind."
        },
    )


@dataclass
class ContrastiveOptions:
    """The options of a training that `ContrastiveTrainingArguments` adds to, or sets otherwise than, transformers'.

    The defaults are the recipe of the paper's reference 8 (PubMedCLIP, Eslami et al. 2021): batches of 64 pairs, Adam
    with coupled weight decay 5e-4, a constant learning rate of 1e-5 without warm-up and without clipping, 50 epochs,
    and in the end the epoch with the lowest validation loss.
    """

    output_dir: str = field(
        default=DEFAULT_OUTPUT_DIR,
        metadata={"help": "Folder of the experiment: checkpoints, the fine-tuned model, the results of later steps."},
    )
    per_device_train_batch_size: int = field(
        default=64,
        metadata={"help": "Pairs a step in each process; each is a negative to all others of the step. (Recipe: 64.)"},
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Pairs a step of evaluation."})
    num_train_epochs: float = field(default=50.0, metadata={"help": "Passes over the training split. (Recipe: 50.)"})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate. (Recipe: 1e-5.)"})
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "Learning rate schedule. (Recipe: constant.)"}
    )
    weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay. (Recipe: 5e-4.)"})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradient clipping; 0 for none. (Recipe: none.)"})
    coupled_weight_decay: bool = field(
        default=True,
        metadata={
            "help": "torch.optim.Adam over all parameters with weight decay added to the gradient (L2), as in the "
            "recipe; when false, the optimizer of --optim."
        },
    )
    decay_biases_and_norms: bool | None = field(
        default=None,
        metadata={
            "help": "Whether biases, norms and logit_scale have weight decay, too. By default they do with"
            " --coupled_weight_decay, as in the recipe, and not without."
        },
    )
    train_towers: str = field(
        default="both",
        metadata={"help": "The towers to train: both, or vision or text, which freezes the other. (Recipe: both.)"},
    )
    unfreeze_last_layers: int | None = field(
        default=None,
        metadata={
            "help": "Train only this many last layers of each trained tower, its final norm and its projection; with"
            " 0, norm and projection alone. By default all layers. logit_scale always trains."
        },
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Each layer learns at this share of the rate of the one above it, the embeddings most slowly."
            " (Recipe: 1, all alike.)"
        },
    )
    lora_rank: int | None = field(
        default=None,
        metadata={
            "help": "Train low-rank adapters (LoRA) of this rank on all linear modules of the trained layers, and"
            " nothing else, neither projections nor logit_scale. They need a higher --learning_rate, such as 1e-4."
        },
    )
    lora_alpha: float | None = field(
        default=None, metadata={"help": "The adapters' change is multiplied by alpha / rank. By default the rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    loss: str | None = field(
        default=None,
        metadata={
            "help": "softmax, or sigmoid for models with a logit_bias such as SigLIP; by default the model's own."
        },
    )
    logits_factor: float = field(
        default=1.0,
        metadata={
            "help": "A fixed factor on the logits in training and validation loss. The recipe's published code "
            "multiplies by exp(0.01)/exp(0.07) = 0.942; off (1.0) by default."
        },
    )
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Pairs in memory at a time, for batches that do not fit: exact gradient caching, which costs a"
            " second forward pass."
        },
    )
    distinct_batches: bool = field(
        default=True,
        metadata={"help": "Form batches without the same picture or text twice, as long as other pairs are left."},
    )
    cache_images: bool = field(
        default=False,
        metadata={
            "help": "Decode and resize each picture once and keep it on disk (150 KB at 224 x 224) instead of doing"
            " so in every epoch; the numbers are the same bit for bit."
        },
    )
    dataloader_drop_last: bool = field(
        default=True,
        metadata={"help": "Drop an incomplete last batch (unless it is the only one). (Recipe: dropped.)"},
    )
    dataloader_num_workers: int | None = field(
        default=None,
        metadata={
            "help": "Processes that decode pictures, for each training process. By default its share of the cores, at"
            " most 8, where an accelerator trains, and none where the cores train."
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch, best."}
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept beside the best one."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Keep the best epoch's weights instead of the last epoch's."}
    )
    metric_for_best_model: str = field(
        default="loss",
        metadata={
            "help": "The validation metric that chooses the best epoch: loss, mrr@100 or recall@k. (Recipe: loss.)"
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations in a row without a better --metric_for_best_model. By default"
            " all epochs are trained. (Recipe: no early stopping.)"
        },
    )
    early_stopping_threshold: float | None = field(
        default=None,
        metadata={
            "help": "With --early_stopping_patience: the improvement that an evaluation must exceed to count. By"
            " default any improvement counts."
        },
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Look for unused weights in every step; CLIP has none."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay false: the collator reads the data set's own columns."}
    )
    hub_strategy: str = field(
        default="end",
        metadata={"help": "Must stay end: only the fine-tuned model, its card and its provenance are pushed."},
    )


@dataclass
class TrainArguments:
    """Options of `hf-newsmatch train` beside those of the data, the model and the training."""

    _argument_group_name = "output"

    overwrite: bool = field(
        default=False,
        metadata={
            "help": "Replace a fine-tuned model that is already in the output folder, once the new one is complete."
        },
    )


@dataclass
class InterpolateArguments:
    """Options of `hf-newsmatch interpolate`."""

    _argument_group_name = "interpolation"

    alpha: list[str] | None = field(
        default=None,
        metadata={
            "help": "Alphas from 0 (zero-shot) to 1 (fine-tuned), or auto, the default: the one of 0, 0.1 … 1 that"
            " --alpha_rule chooses. Several alphas go to folders of their own, such as wise_ft_alpha_0.40."
        },
    )
    alpha_rule: str = field(
        default="best",
        metadata={
            "help": "With auto: best (highest --alpha_metric on the validation split, the paper's rule);"
            " one_standard_error (nearest to 0.5 of those within one standard error of the best); time_robust (best on"
            " its worst slice of time of the validation split); forward_chaining (best on average over folds that"
            " fine-tune on earlier and choose on later news; this trains again, with the default 4 slices 1.5 times as"
            " long as the training did)."
        },
    )
    alpha_metric: str = field(
        default="recall@1", metadata={"help": "The metric that the rule compares: mrr@100 or recall@k."}
    )
    alpha_slices: int = field(
        default=4,
        metadata={
            "help": "Slices of time: of the validation split for time_robust, of the training split for"
            " forward_chaining (K slices take (K - 1) / 2 times as long as the training did)."
        },
    )
    per_tower: bool = field(
        default=False,
        metadata={"help": "With auto: search an alpha for each tower, coarse to fine; not with forward_chaining."},
    )
    max_evaluations: int = field(
        default=20,
        metadata={"help": "With --per_tower: how often one tower may embed its side of the validation split."},
    )
    alpha_vision: float | None = field(default=None, metadata={"help": "An alpha of its own for the vision tower."})
    alpha_text: float | None = field(default=None, metadata={"help": "An alpha of its own for the text tower."})
    logit_scale_with: str | None = field(
        default=None,
        metadata={
            "help": "The tower whose alpha logit_scale takes, vision or text; by default --alpha or, without that, the"
            " text tower's."
        },
    )
    alphas_file: str | None = field(
        default=None,
        metadata={
            "help": "YAML of lines such as `vision_model.encoder.layers.1?.*: 0.3`: alphas for the weights whose names"
            " match; of several that match, the last counts."
        },
    )
    extrapolate: bool = field(default=False, metadata={"help": "Allow alphas below 0 and above 1."})
    dtype: str | None = field(
        default=None,
        metadata={"help": "Of the weights: float32, float16 or bfloat16; by default the fine-tuned model's."},
    )
    max_shard_size: str | None = field(
        default=None,
        metadata={"help": "A size such as 2GB, above which the weights are split into files; by default one file."},
    )
    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the experiment."})
    batch_size: int = field(default=256, metadata={"help": "Texts or pictures of a forward pass of the sweep."})

    def __post_init__(self):
        _check_least(self, batch_size=1, alpha_slices=2)


@dataclass
class PredictArguments:
    """Options of `hf-newsmatch predict` beside those of the data and the model."""

    _argument_group_name = "prediction"

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the experiment."})
    splits: list[str] | None = field(
        default=None,
        metadata={"help": "The splits to predict for, validation or test; by default those that are there."},
    )
    runs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Of zero_shot, fine_tuned, wise_ft and ensemble (the weighted average of the first two's"
            " similarities); by default those whose models exist."
        },
    )
    ensemble_weight: float = field(
        default=0.5, metadata={"help": "The fine-tuned model's share in the ensemble, from 0 to 1."}
    )
    rerank: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={
            "help": "Methods that rank again, beside the plain ranking of each run: dual_softmax, csls, querybank,"
            " sinkhorn, assignment, neighbours. All but querybank and neighbours, which use what was published before,"
            " are transductive: they assume the whole test set at hand, and the ranking of an article depends on the"
            " other articles. Their settings are searched on the validation split. Where many articles share pictures,"
            " assignment may rank worse than none."
        },
    )
    k: int = field(default=100, metadata={"help": "Pictures to rank for each article, at most 100."})
    batch_size: int = field(default=64, metadata={"help": "Texts or pictures of a forward pass."})
    num_workers: int = field(default=0, metadata={"help": "Processes that decode pictures beside this one."})
    dtype: str = field(default="float32", metadata={"help": _DTYPE_HELP, "choices": list(DTYPES)})
    torch_compile: bool = field(
        default=False,
        metadata={
            "help": "Compile the towers first. That takes a minute for each model, and on a CPU a C++ compiler; it"
            " pays for many thousand pictures."
        },
    )
    long_text: str = field(
        default="truncate",
        metadata={
            "help": "What becomes of a text that is longer than the model's context: truncate reads its beginning,"
            " pool embeds it in pieces, cut at the ends of sentences, and averages their embeddings.",
            "choices": list(LONG_TEXT),
        },
    )

    def __post_init__(self):
        _check_least(self, k=1, batch_size=1, num_workers=0)
        for method in self.rerank:
            if method not in RERANKERS:
                raise ValueError(f"There is no re-ranking '{method}'; the methods are {', '.join(RERANKERS)}.")
        if not 0 <= self.ensemble_weight <= 1:
            raise ValueError(f"--ensemble_weight must lie between 0 and 1, not {self.ensemble_weight:g}.")
        if self.k > MAX_RANK:
            raise ValueError(f"--k must be at most {MAX_RANK}, what the task accepts of each article, not {self.k}.")


@dataclass
class EvaluateArguments:
    """Options of `hf-newsmatch evaluate`."""

    _argument_group_name = "evaluation"

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the experiment."})
    predictions: list[str] | None = field(
        default=None, metadata={"help": "Prediction files to score instead of the experiment's runs; needs --gold."}
    )
    gold: str | None = field(default=None, metadata={"help": "With --predictions: the true pictures."})
    articles: str | None = field(
        default=None, metadata={"help": "With --predictions: the list that links article ids and gold by url (2021)."}
    )
    candidates: str | None = field(
        default=None,
        metadata={
            "help": "With --predictions: the candidate pictures, a list or a folder, to check the files against."
        },
    )
    scores_file: str | None = field(
        default=None,
        metadata={"help": "JSON file to write, with Markdown beside it; by default scores.json of the experiment."},
    )
    ks: list[int] = field(default_factory=lambda: [1, 5, 10, 50, 100], metadata={"help": "The ks of Recall@k."})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap."})

    def __post_init__(self):
        _check_least(self, seed=0)
        for k in self.ks:
            if not 1 <= k <= MAX_RANK:
                raise ValueError(f"--ks must lie between 1 and {MAX_RANK}, not {k}.")


@dataclass
class FuseArguments:
    """Options of `hf-newsmatch fuse`."""

    _argument_group_name = "fusion"

    predictions: list[str] = field(
        default_factory=list,
        metadata={"help": "The prediction files to join, two or more; they may be named without the flag."},
    )
    method: str = field(
        default="reciprocal_rank",
        metadata={
            "help": "reciprocal_rank, of any files; z_score or min_max, the mean of the normalised scores that"
            " `hf-newsmatch predict` writes beside its files."
        },
    )
    weights: list[float] | None = field(default=None, metadata={"help": "A weight for each file; equal by default."})
    output_file: str = field(default="outputs/fused.tsv", metadata={"help": "The prediction file to write."})
    k: int = field(default=100, metadata={"help": "Pictures to rank for each article, at most 100."})

    def __post_init__(self):
        if not 1 <= self.k <= MAX_RANK:
            raise ValueError(f"--k must lie between 1 and {MAX_RANK}, not {self.k}.")


@dataclass
class ConvertArguments:
    """Options of `hf-newsmatch convert`."""

    _argument_group_name = "conversion"

    model_name_or_path: str = field(
        default="",
        metadata={
            "help": "The checkpoint, a folder or a Hub id, in open_clip's layout or transformers'; it may be named"
            " without the flag."
        },
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    output_dir: str = field(default="outputs/converted", metadata={"help": "The folder to write."})
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "A folder or Hub id with CLIP's tokenizer, for a checkpoint of open_clip that has none."},
    )
    context_length: int | None = field(
        default=None, metadata={"help": "The tokens that a text may have, more than the model's own, such as 248."}
    )
    keep_positions: int | None = field(
        default=None,
        metadata={
            "help": "With --context_length: the first positions that stay what they are, while the others are"
            " stretched, 20 as in Long-CLIP; by default all stay and stretched ones follow."
        },
    )

    def __post_init__(self):
        if not self.model_name_or_path:
            raise ValueError("No checkpoint is named; name its folder or Hub id with --model_name_or_path.")


@dataclass
class ReportArguments:
    """Options of `hf-newsmatch report`."""

    _argument_group_name = "report"

    output_dir: str = field(
        default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the experiment; it may be named without the flag."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap and the permutation test."})

    def __post_init__(self):
        _check_least(self, seed=0)


@dataclass
class AppArguments:
    """Options of `hf-newsmatch app`."""

    _argument_group_name = "app"

    output_dir: str = field(
        default=DEFAULT_OUTPUT_DIR,
        metadata={"help": "Folder of an experiment; where the default holds none, the demo is trained first."},
    )
    split: str = field(default="test", metadata={"help": "The split of the experiment whose pictures are ranked."})
    hub_model_id: str | None = field(
        default=None,
        metadata={
            "help": "Models that `hf-newsmatch push --family` published, instead of an experiment's; name --images or"
            " --articles_file with them."
        },
    )
    images: str | None = field(
        default=None, metadata={"help": "Rank these pictures, a list or a folder, instead of the experiment's."}
    )
    articles_file: str | None = field(
        default=None,
        metadata={
            "help": "Articles to choose from instead of the experiment's; without --images, also their pictures."
        },
    )
    gold_file: str | None = field(
        default=None, metadata={"help": "With --articles_file and --images: the true pictures, where they are known."}
    )
    k: int = field(default=12, metadata={"help": "Pictures to show of each model."})
    dtype: str = field(default="float32", metadata={"help": _DTYPE_HELP, "choices": list(DTYPES)})

    def __post_init__(self):
        _check_least(self, k=1)
        if self.k > MAX_RANK:
            raise ValueError(f"--k must be at most {MAX_RANK}, not {self.k}.")
        if self.gold_file and not self.articles_file:
            raise ValueError("--gold_file belongs to articles; name them with --articles_file.")


@dataclass
class CardArguments:
    """Statements of a model card that the record of an experiment cannot know."""

    _argument_group_name = "model card"

    license: str | None = field(
        default=None, metadata={"help": "Licence of the checkpoint; by default that of the base model's card."}
    )
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the base model, where the training began from a folder."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Name of the data in the card; by default that of its file."}
    )
    datasets: list[str] | None = field(default=None, metadata={"help": "Hub ids of the data, where it is on the Hub."})
    language: list[str] = field(
        default_factory=lambda: ["en"], metadata={"help": "Codes of the languages that the model reads."}
    )


@dataclass
class PushArguments:
    """Options of `hf-newsmatch push` beside the card's; `hf-newsmatch train --push_to_hub` shares the hub_ flags."""

    _argument_group_name = "publishing"

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the experiment."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "The repository: user/name or organisation/name."}
    )
    hub_private_repo: bool = field(
        default=True, metadata={"help": "Make the repository private; false makes it public."}
    )
    hub_revision: str = field(default="main", metadata={"help": "The branch for the (main) checkpoint."})
    hub_token: str | None = field(
        default=None,
        metadata={"help": "A token; by default HF_TOKEN or that of `hf auth login`, which no process list shows."},
    )
    run: str | None = field(
        default=None,
        metadata={"help": "The model to publish: fine_tuned or wise_ft; by default wise_ft where there is one."},
    )
    family: bool = field(
        default=False,
        metadata={
            "help": "Publish each wise_ft_alpha_… of the folder and the fine-tuned model, too, as branches alpha-…"
        },
    )
    dry_run: bool = field(
        default=False, metadata={"help": "List exactly the files and show the card, and send nothing."}
    )

    def __post_init__(self):
        if self.run not in (None, "fine_tuned", "wise_ft"):
            raise ValueError(f"--run is fine_tuned or wise_ft, not {self.run}.")


def _check_least(arguments: Any, **least: int) -> None:
    for name, bound in least.items():
        if getattr(arguments, name) < bound:
            raise ValueError(f"--{name} must be at least {bound}, not {getattr(arguments, name)}.")


@dataclass
class TranslateArguments:
    """Options of `hf-newsmatch translate`."""

    _argument_group_name = "translation"

    articles_file: str | None = field(
        default=None, metadata={"help": "The articles to translate: a list of any NewsImages edition, or a Hub id."}
    )
    output_file: str | None = field(
        default=None,
        metadata={"help": "The file to write; by default outputs/translated/NAME with the ending of the format."},
    )
    format: str = field(
        default="parquet",
        metadata={
            "help": "parquet: translated columns, with the originals as title_source and text_source; tsv: the"
            " original columns, with the translated ones as titleEN and textEN. All commands read both as English."
        },
    )
    translation_model: str = field(
        default=DEFAULT_TRANSLATION_MODEL,
        metadata={"help": "A Marian checkpoint, a Hub id or a folder; 'demo' is the tiny one in the package."},
    )
    translation_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the translation model."}
    )
    source_language: str | None = field(
        default=None,
        metadata={"help": "The language that the model translates from, where the checkpoint does not say it."},
    )
    target_language: str | None = field(
        default=None, metadata={"help": "The language that it translates into, likewise."}
    )
    language: str | None = field(
        default=None,
        metadata={"help": "The language of all articles; by default the list's, or else detected for each article."},
    )
    columns: list[str] = field(
        default_factory=lambda: ["title", "text"], metadata={"help": "The columns to translate."}
    )
    max_sentences: int | None = field(
        default=None, metadata={"help": "Sentences of a text to translate; the rest is left out. By default all."}
    )
    use_english_columns: bool = field(
        default=True, metadata={"help": "Take the English columns of a list that has them (titleEN, textEN)."}
    )
    backend: str = field(
        default="torch", metadata={"help": "The engine: torch, or ctranslate2 where that is installed."}
    )
    dtype: str | None = field(
        default=None,
        metadata={
            "help": "Of the weights: float32 (default), float16, bfloat16; with ctranslate2 int8 (default), float32 …"
        },
    )
    device: str | None = field(
        default=None, metadata={"help": "The device; by default the accelerator where there is one."}
    )
    num_beams: int | None = field(
        default=None, metadata={"help": "Beams of the search; by default the checkpoint's. 1 is fastest."}
    )
    tokens_per_batch: int | None = field(
        default=None,
        metadata={"help": "Source tokens of a batch, padding included; by default 1024 on a CPU, 4096 elsewhere."},
    )
    cache_file: str | None = field(
        default=None,
        metadata={"help": "The SQLite file of translated sentences; by default in the cache of datasets."},
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be read, and list them, instead of stopping."}
    )
    several_pictures: str = field(
        default="refuse",
        metadata={
            "help": "An article in several rows with different pictures: refuse the further rows, keep the first, or"
            " all as pairs."
        },
    )


@dataclass
class ReproduceArguments:
    """Options of `hf-newsmatch reproduce`."""

    _argument_group_name = "reproduction"

    data_root: str | None = field(
        default=None,
        metadata={"help": "The folder with rt, tw and rss, each with the files that its recipe names below data/."},
    )
    demo: bool = field(
        default=False,
        metadata={"help": "Take the demo newsroom's portal and feed for the three: all steps in miniature."},
    )
    datasets: list[str] = field(default_factory=lambda: list(PAPER_DATASETS), metadata={"help": "Of rt, tw and rss."})
    output_dir: str = field(
        default="outputs/reproduce", metadata={"help": "Folder of the results, with a folder for each data set."}
    )
    accelerate_config: str | None = field(
        default=None,
        metadata={"help": "A file of accelerate_configs/ for the trainings; by default your `accelerate config`."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Start over instead of going on."})

    def __post_init__(self):
        if self.demo == bool(self.data_root):
            raise ValueError("Name the folder of the three data sets with --data_root, or take --demo true.")
        for name in self.datasets:
            if name not in PAPER_DATASETS:
                raise ValueError(f"--datasets are {', '.join(PAPER_DATASETS)}, not {name}.")


@dataclass
class StudyArguments:
    """Options of `hf-newsmatch study`."""

    _argument_group_name = "study"

    corpus_seeds: list[int] = field(
        default_factory=lambda: [1, 2, 3, 4, 5],
        metadata={"help": "The corpora to draw. 0 is the demo's own; the newsroom was tuned on others than 1 to 5."},
    )
    recipe: str = field(
        default_factory=lambda: str(resource_dir("recipes") / "demo.yaml"),
        metadata={"help": "The recipe of all seeds; by default the demo's, recipes/demo.yaml."},
    )
    alpha_metric: str = field(
        default="recall@1", metadata={"help": "The metric that the rules compare: mrr@100 or recall@k."}
    )
    alpha_slices: int = field(default=4, metadata={"help": "Slices of time for time_robust and forward_chaining."})
    output_dir: str = field(default="outputs/study", metadata={"help": "Folder of the study."})
