"""What each step takes, as dataclasses: pure data, which `HfArgumentParser` turns into flags and recipes fill."""

from dataclasses import dataclass, field
from typing import Any

from .utils.resources import resource_dir

DEFAULT_OUTPUT_DIR = "outputs/demo"
DEFAULT_TRANSLATION_MODEL = "Helsinki-NLP/opus-mt-de-en"


@dataclass
class DataArguments:
    """Where texts and pictures come from and how they are split. Paths are files or folders; see the README."""

    demo: str | None = field(
        default=None,
        metadata={"help": "Draw a domain of the embedded demo newsroom instead of reading files: feed or portal."},
    )
    corpus_seed: int = field(default=0, metadata={"help": "With --demo: the seed of the corpus."})
    articles_file: str | None = field(
        default=None,
        metadata={"help": "Linked articles to train and validate on, any NewsImages edition or a Hub id."},
    )
    image_dir: str | None = field(
        default=None, metadata={"help": "Folder of their pictures; by default `images` beside the articles file."}
    )
    test_articles_file: str | None = field(
        default=None, metadata={"help": "Articles to predict for, when the edition has a test list."}
    )
    test_images: str | None = field(
        default=None,
        metadata={
            "help": "Candidate pictures of the test part, a list or a folder; by default those that its list links."
        },
    )
    test_image_dir: str | None = field(
        default=None, metadata={"help": "Folder of the test pictures; by default --image_dir."}
    )
    gold_file: str | None = field(
        default=None, metadata={"help": "The true picture of each test article, when it is known."}
    )
    text_fields: list[str] = field(
        default_factory=lambda: ["title", "text"],
        metadata={"help": "What CLIP reads, joined by '. ', cut at the end."},
    )
    holdout_test: bool | None = field(
        default=None,
        metadata={
            "help": "Hold out the newest 20 %% of the articles file as the test part; by default when there is no"
            " --test_articles_file. With false, all of it is split into training and validation part."
        },
    )
    train_fraction: float = field(default=0.8, metadata={"help": "Share of the oldest pairs that is trained on."})
    sort_by: str | None = field(
        default=None,
        metadata={
            "help": "What 'oldest' means: published, date_number or file (its own order). By default the first of"
            " these that every row has."
        },
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be read and list them, instead of stopping."}
    )
    use_english_columns: bool = field(
        default=True, metadata={"help": "Take the English translation of a list that has one (titleEN, textEN)."}
    )
    translate: bool = field(
        default=False,
        metadata={
            "help": "Translate what is not in English, cached by content; scripts/translate.py has more options."
        },
    )
    translation_model: str = field(
        default=DEFAULT_TRANSLATION_MODEL,
        metadata={"help": "A Marian checkpoint into English, a Hub id or a folder; 'demo' is the tiny one inside."},
    )
    translation_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the translation model."}
    )
    max_sentences: int | None = field(
        default=None, metadata={"help": "Sentences of a text to translate, the rest is left out; by default all."}
    )

    def __post_init__(self):
        _check_least(self, corpus_seed=0)


@dataclass
class ModelArguments:
    """Which checkpoint everything starts from."""

    model_name_or_path: str = field(
        default="openai/clip-vit-base-patch32",
        metadata={"help": "Any CLIP checkpoint, a Hub id or a folder; 'demo' is the tiny one inside the package."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})


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

    overwrite: bool = field(
        default=False, metadata={"help": "Replace a fine-tuned model that is already in the output folder."}
    )


@dataclass
class InterpolateArguments:
    """What `scripts/interpolate.py` takes."""

    alpha: list[str] | None = field(
        default=None,
        metadata={
            "help": "From 0 (zero-shot) to 1 (fine-tuned), or auto, the default: the one of 0, 0.1 … 1 that"
            " --alpha_rule chooses. Of several, each has a folder of its own, such as wise_ft_alpha_0.40."
        },
    )
    alpha_rule: str = field(
        default="best",
        metadata={
            "help": "With auto: best (highest --alpha_metric on the validation part, the paper's rule);"
            " one_standard_error (nearest to 0.5 of those within one standard error of the best); time_robust (best on"
            " its worst slice of time of the validation part); forward_chaining (best on average over folds that"
            " fine-tune on earlier and choose on later news; this trains again, with the default 4 slices 1.5 times as"
            " long as the run did)."
        },
    )
    alpha_metric: str = field(default="recall@1", metadata={"help": "What the rule goes by: mrr@100 or recall@k."})
    alpha_slices: int = field(
        default=4,
        metadata={
            "help": "Slices of time: of the validation part for time_robust, of the training part for forward_chaining"
            " (K slices take (K - 1) / 2 times as long as the training did)."
        },
    )
    per_tower: bool = field(
        default=False,
        metadata={"help": "With auto: search an alpha for each tower, coarse to fine; not with forward_chaining."},
    )
    max_evaluations: int = field(
        default=20,
        metadata={"help": "With --per_tower: how often one tower may embed its side of the validation part."},
    )
    alpha_vision: float | None = field(default=None, metadata={"help": "Another alpha for the vision tower."})
    alpha_text: float | None = field(default=None, metadata={"help": "Another alpha for the text tower."})
    logit_scale_with: str | None = field(
        default=None,
        metadata={
            "help": "The tower whose alpha logit_scale takes, vision or text; by default it takes --alpha or, without"
            " that, the text tower's."
        },
    )
    alphas_file: str | None = field(
        default=None,
        metadata={
            "help": "YAML of lines like `vision_model.encoder.layers.1?.*: 0.3`, alphas for the weights whose names"
            " match; of several that match, the last counts."
        },
    )
    extrapolate: bool = field(default=False, metadata={"help": "Allow alphas below 0 and above 1."})
    dtype: str | None = field(
        default=None, metadata={"help": "float32, float16 or bfloat16; by default the fine-tuned model's."}
    )
    max_shard_size: str | None = field(
        default=None,
        metadata={"help": "A size such as 2GB, above which the weights go to several files; by default one file."},
    )
    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the run."})
    batch_size: int = field(default=256, metadata={"help": "Texts or pictures a forward pass of the sweep."})

    def __post_init__(self):
        _check_least(self, batch_size=1, alpha_slices=2)


@dataclass
class PredictArguments:
    """What `scripts/predict.py` takes beside data and model."""

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the run."})
    splits: list[str] = field(
        default_factory=lambda: ["validation", "test"], metadata={"help": "The parts to predict for."}
    )
    runs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Of zero_shot, fine_tuned, wise_ft and ensemble, the weighted average of the first two's"
            " similarities; by default those whose models exist."
        },
    )
    ensemble_weight: float = field(
        default=0.5, metadata={"help": "The fine-tuned model's share in the ensemble, from 0 to 1."}
    )
    rerank: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={
            "help": "Rank again, beside the plain ranking of each run: dual_softmax, csls, querybank, sinkhorn,"
            " assignment or neighbours, or several. All but querybank and neighbours, which know what was published"
            " before, are transductive: they assume the whole test set at hand, and the ranking of an article depends"
            " on the other articles. Their settings are searched on the validation part. Where many articles share"
            " pictures, assignment may rank worse than none."
        },
    )
    k: int = field(default=100, metadata={"help": "Pictures an article."})
    batch_size: int = field(default=64, metadata={"help": "Texts or pictures a forward pass."})
    num_workers: int = field(default=0, metadata={"help": "Processes that decode pictures; 0 for none extra."})

    def __post_init__(self):
        from .retrieval.ranking import MAX_RANK
        from .retrieval.rerank import check_method

        _check_least(self, k=1, batch_size=1, num_workers=0)
        for method in self.rerank:
            check_method(method)
        if not 0 <= self.ensemble_weight <= 1:
            raise ValueError(f"--ensemble_weight must lie between 0 and 1, not {self.ensemble_weight:g}.")
        if self.k > MAX_RANK:
            raise ValueError(f"--k must be at most {MAX_RANK}, what the task accepts of each article, not {self.k}.")


@dataclass
class EvaluateArguments:
    """What `scripts/evaluate.py` takes."""

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the run."})
    predictions: list[str] | None = field(
        default=None, metadata={"help": "Prediction files to score instead of the folder's runs; needs --gold."}
    )
    gold: str | None = field(default=None, metadata={"help": "With --predictions: the true pictures."})
    articles: str | None = field(
        default=None, metadata={"help": "With --predictions: the list that links article ids and gold by url (2021)."}
    )
    candidates: str | None = field(
        default=None, metadata={"help": "With --predictions: the candidate pictures, a list or a folder, to check by."}
    )
    scores_file: str | None = field(
        default=None, metadata={"help": "JSON file to write, Markdown beside it; by default scores.json of the run."}
    )
    ks: list[int] = field(default_factory=lambda: [1, 5, 10, 50, 100], metadata={"help": "The k of Recall@k."})
    seed: int = field(default=0, metadata={"help": "Of the bootstrap."})

    def __post_init__(self):
        from .retrieval.ranking import MAX_RANK

        _check_least(self, seed=0)
        for k in self.ks:
            if not 1 <= k <= MAX_RANK:
                raise ValueError(f"--ks must lie between 1 and {MAX_RANK}, not {k}.")


@dataclass
class FuseArguments:
    """What `scripts/fuse.py` takes."""

    predictions: list[str] = field(
        default_factory=list, metadata={"help": "The prediction files to join, two or more; the flag may be left out."}
    )
    method: str = field(
        default="reciprocal_rank",
        metadata={
            "help": "reciprocal_rank, of any files; or z_score or min_max, the mean of the normalised scores that"
            " predict.py writes beside its files."
        },
    )
    weights: list[float] | None = field(default=None, metadata={"help": "One a file; equal by default."})
    output_file: str = field(default="outputs/fused.tsv", metadata={"help": "The prediction file to write."})
    k: int = field(default=100, metadata={"help": "Pictures an article."})

    def __post_init__(self):
        from .retrieval.ranking import MAX_RANK

        if not 1 <= self.k <= MAX_RANK:
            raise ValueError(f"--k must lie between 1 and {MAX_RANK}, not {self.k}.")


@dataclass
class ReportArguments:
    """What `scripts/report.py` takes."""

    output_dir: str = field(
        default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the run; its flag may be left out."}
    )
    seed: int = field(default=0, metadata={"help": "Of the bootstrap and the permutation test."})

    def __post_init__(self):
        _check_least(self, seed=0)


@dataclass
class AppArguments:
    """What `app/app.py` takes."""

    output_dir: str = field(
        default=DEFAULT_OUTPUT_DIR,
        metadata={"help": "Folder of a run; where the default holds none, the demo is trained first."},
    )
    split: str = field(default="test", metadata={"help": "The part of the run whose pictures are ranked."})
    hub_model_id: str | None = field(
        default=None,
        metadata={
            "help": "Models that scripts/push_to_hub.py --family published, instead of a run's; name --images or"
            " --articles_file with them."
        },
    )
    images: str | None = field(
        default=None, metadata={"help": "Rank these pictures, a list or a folder, instead of the run's."}
    )
    articles_file: str | None = field(
        default=None,
        metadata={"help": "Articles to choose from instead of the run's; without --images, also their pictures."},
    )
    gold_file: str | None = field(
        default=None, metadata={"help": "With --articles_file and --images: the true pictures, when they are known."}
    )
    k: int = field(default=12, metadata={"help": "Pictures that each model shows."})

    def __post_init__(self):
        _check_least(self, k=1)
        if self.gold_file and not self.articles_file:
            raise ValueError("--gold_file belongs to articles; name them with --articles_file.")


@dataclass
class CardArguments:
    """What a model card says that the record of a run cannot know."""

    license: str | None = field(
        default=None, metadata={"help": "Licence of the checkpoint; by default that of the base model's card."}
    )
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the base model, when the training began from a folder."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "How the card calls the data; by default the name of its file."}
    )
    datasets: list[str] | None = field(default=None, metadata={"help": "Hub ids of the data, if it is there."})
    language: list[str] = field(
        default_factory=lambda: ["en"], metadata={"help": "Codes of the languages that the model reads."}
    )


@dataclass
class PushArguments:
    """What `scripts/push_to_hub.py` takes beside what the card says. `train.py --push_to_hub` shares the hub flags."""

    output_dir: str = field(default=DEFAULT_OUTPUT_DIR, metadata={"help": "Folder of the run."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Where to: user/name or organisation/name."})
    hub_private_repo: bool = field(
        default=True, metadata={"help": "Make the repository private; false makes it public."}
    )
    hub_revision: str = field(default="main", metadata={"help": "The branch of the (main) checkpoint."})
    hub_token: str | None = field(
        default=None,
        metadata={"help": "By default HF_TOKEN or that of `hf auth login`, which no process list shows."},
    )
    run: str | None = field(
        default=None, metadata={"help": "fine_tuned or wise_ft; by default wise_ft when there is one."}
    )
    family: bool = field(
        default=False,
        metadata={"help": "Also each wise_ft_alpha_… of the folder and the fine-tuned model, as branches alpha-…"},
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
    """What `scripts/translate.py` takes."""

    articles_file: str | None = field(
        default=None, metadata={"help": "The articles to translate, any NewsImages edition or a Hub id."}
    )
    output_file: str | None = field(
        default=None, metadata={"help": "Where to; by default outputs/translated/NAME with the ending of the format."}
    )
    format: str = field(
        default="parquet",
        metadata={
            "help": "parquet: translated columns, the originals as title_source and text_source; tsv: the original"
            " columns, the translated ones as titleEN and textEN. All scripts read both as English."
        },
    )
    translation_model: str = field(
        default=DEFAULT_TRANSLATION_MODEL,
        metadata={"help": "A Marian checkpoint, a Hub id or a folder; 'demo' is the tiny one inside the package."},
    )
    translation_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of the translation model."}
    )
    source_language: str | None = field(
        default=None, metadata={"help": "What the model translates from, if the checkpoint does not say so."}
    )
    target_language: str | None = field(default=None, metadata={"help": "What it translates into, likewise."})
    language: str | None = field(
        default=None,
        metadata={"help": "The language of all articles; by default what the list says, else detected for each."},
    )
    columns: list[str] = field(default_factory=lambda: ["title", "text"], metadata={"help": "What to translate."})
    max_sentences: int | None = field(
        default=None, metadata={"help": "Sentences of a text to translate, the rest is left out; by default all."}
    )
    use_english_columns: bool = field(
        default=True, metadata={"help": "Take the English translation of a list that has one (titleEN, textEN)."}
    )
    backend: str = field(default="torch", metadata={"help": "torch, or ctranslate2 where that is installed."})
    dtype: str | None = field(
        default=None,
        metadata={"help": "float32 (default), float16 or bfloat16; with ctranslate2 int8 (default), float32 …"},
    )
    device: str | None = field(default=None, metadata={"help": "By default the accelerator when there is one."})
    num_beams: int | None = field(
        default=None, metadata={"help": "Beams of the search; by default what the checkpoint says. 1 is fastest."}
    )
    tokens_per_batch: int | None = field(
        default=None,
        metadata={"help": "Source tokens a batch, padding included; by default 1024 on a CPU, 4096 elsewhere."},
    )
    cache_file: str | None = field(
        default=None, metadata={"help": "The sqlite file of what is done; by default in the cache of datasets."}
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be read and list them, instead of stopping."}
    )


@dataclass
class ReproduceArguments:
    """What `hf-newsmatch reproduce` takes."""

    data_root: str | None = field(
        default=None,
        metadata={"help": "The folder with rt, tw and rss, each with the files that its recipe names below data/."},
    )
    demo: bool = field(
        default=False,
        metadata={"help": "Take the demo newsroom's portal and feed for the three: the whole road in miniature."},
    )
    datasets: list[str] = field(default_factory=lambda: ["rt", "tw", "rss"], metadata={"help": "Of rt, tw and rss."})
    output_dir: str = field(default="outputs/reproduce", metadata={"help": "Where to; a folder a data set."})
    accelerate_config: str | None = field(
        default=None,
        metadata={"help": "A file of accelerate_configs/ for the trainings; by default your `accelerate config`."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Start over what was begun."})

    def __post_init__(self):
        if self.demo == bool(self.data_root):
            raise ValueError("Name the folder of the three data sets with --data_root, or take --demo true.")
        from .studies.reproduction import PAPER

        for name in self.datasets:
            if name not in PAPER:
                raise ValueError(f"--datasets are {', '.join(PAPER)}, not {name}.")


@dataclass
class StudyArguments:
    """What `hf-newsmatch study` takes."""

    corpus_seeds: list[int] = field(
        default_factory=lambda: [1, 2, 3, 4, 5],
        metadata={"help": "The corpora to draw. 0 is the demo's own; the newsroom was tuned on others than 1 to 5."},
    )
    recipe: str = field(
        default_factory=lambda: str(resource_dir("recipes") / "demo.yaml"),
        metadata={"help": "The recipe of every seed."},
    )
    alpha_metric: str = field(default="recall@1", metadata={"help": "What the rules go by: mrr@100 or recall@k."})
    alpha_slices: int = field(default=4, metadata={"help": "Slices of time for time_robust and forward_chaining."})
    output_dir: str = field(default="outputs/study", metadata={"help": "Folder of the study."})
