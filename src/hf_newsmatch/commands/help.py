"""The text of `--help`: examples, our groups of flags, and the flags of `TrainingArguments` that matter."""

import argparse
import dataclasses
import re
import shutil

from ..configs import ContrastiveOptions
from ..errors import program
from .flags import TRAINING_ARGUMENTS, Flag, Unknown, flags_of

WIDTHS = 80, 119  # columns, at least and at most

# The flags of a training that `--help` shows. Those of transformers have a text here where theirs is long or where the
# flag means something else in this training; an empty one stands for the field's own.
TRAINING_GROUPS: dict[str, dict[str, str]] = {
    "length, batches and learning rate": {
        "output_dir": "",
        "num_train_epochs": "",
        "max_steps": "Optimizer steps instead of --num_train_epochs.",
        "per_device_train_batch_size": "",
        "gradient_accumulation_steps": "Batches of an optimizer step; negatives are those of one batch alone.",
        "learning_rate": "",
        "lr_scheduler_type": "",
        "lr_scheduler_kwargs": "Arguments of the schedule, as JSON.",
        "warmup_steps": "Steps of linear warm-up; below 1, a share of all steps.",
        "weight_decay": "",
        "max_grad_norm": "",
        "optim": "The optimizer, with --no_coupled_weight_decay.",
        "seed": "Seed of everything that is drawn.",
    },
    "contrastive fine-tuning": {},
    "precision, memory and workers": {
        "bf16": "Mixed precision in bfloat16; weights stay in float32.",
        "fp16": "Mixed precision in float16; weights stay in float32.",
        "tf32": "TF32 on Ampere and newer GPUs.",
        "activation_checkpointing": "Compute activations twice instead of keeping them.",
        "torch_compile": "Compile the model with torch.compile.",
        "use_cpu": "Train on the CPU even where there is an accelerator.",
        "dataloader_num_workers": "",
    },
    "evaluation, checkpoints and logging": {
        "eval_strategy": "",
        "eval_steps": "With --eval_strategy steps: steps between evaluations; below 1, a share of all.",
        "per_device_eval_batch_size": "",
        "load_best_model_at_end": "",
        "metric_for_best_model": "",
        "save_strategy": "",
        "save_steps": "With --save_strategy steps: steps between checkpoints; below 1, a share of all.",
        "save_total_limit": "",
        "resume_from_checkpoint": "A checkpoint to go on from; by default the last one of the output folder.",
        "logging_strategy": "",
        "logging_steps": "With --logging_strategy steps: steps between lines; below 1, a share of all.",
        "report_to": "Experiment trackers: tensorboard, wandb, trackio … or none.",
        "run_name": "Name of the training in the trackers.",
    },
    "Hugging Face Hub": {
        "push_to_hub": "Publish the fine-tuned model, its card and its provenance at the end.",
        "hub_model_id": "The repository: user/name or organisation/name.",
        "hub_private_repo": "Make the repository private, the default; false makes it public.",
        "hub_revision": "The branch; main by default.",
        "hub_token": "A token; by default HF_TOKEN or that of `hf auth login`, which no process list shows.",
    },
}
OWN_GROUP = "contrastive fine-tuning"
# fields of ours that fit transformers to this training and that nobody needs to set
_FIXED = {"remove_unused_columns", "hub_strategy", "ddp_find_unused_parameters", "dataloader_drop_last"}


def group_flags(item: type | str) -> tuple[dict[str, list[Flag]], list[Flag]]:
    """The flags of a dataclass by the title of their group, and those that only `--help_all` shows."""
    flags = flags_of(item)
    if item != TRAINING_ARGUMENTS:
        return {getattr(item, "_argument_group_name", "flags"): list(flags.values())}, []
    named = {name: text for texts in TRAINING_GROUPS.values() for name, text in texts.items()}
    own = [name for name in flags_of(ContrastiveOptions) if name not in named.keys() | _FIXED]
    groups = {
        title: [
            dataclasses.replace(flags[name], help=named.get(name) or flags[name].help)
            for name in (own if title == OWN_GROUP else texts)
            if name in flags
        ]
        for title, texts in TRAINING_GROUPS.items()
    }
    return groups, [flag for name, flag in flags.items() if name not in named.keys() | set(own)]


def columns() -> int:
    """The width of the help: the terminal's, within limits."""
    least, most = WIDTHS
    return min(max(shutil.get_terminal_size().columns, least), most)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, from 80 columns on, with one spelling a flag."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=columns())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if "-" not in name.lstrip("-")]
        value = "" if action.nargs in ("?", 0) else f" {_value_name(action)}"
        return f"{', '.join(names)}{value}{' …' if action.nargs == '+' else ''}"


def _value_name(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    name = action.dest
    if action.type in (int, float):
        return "N" if action.type is int else "X"
    return "DIR" if name.endswith("_dir") else "FILE" if name.endswith("_file") else "VALUE"


def flag_help(flag: Flag) -> str:
    """The help of a flag with its default."""
    default = flag.default
    # the recipe is what the defaults are
    text = re.sub(r" \(Recipe: [^)]*\)", "", flag.help)
    if default is None or default is Unknown or default is False or default == "" or default == []:
        return text
    if "by default" in text:  # the text says it, in words
        return text
    if default is True:
        default = "on"
    elif isinstance(default, list):
        default = " ".join(map(str, default))
    elif isinstance(default, float):
        default = f"{default:g}"
    return f"{text} (default: {str(default).replace('%', '%%')})"


def as_called(description: str) -> str:
    """A command's docstring, with the examples that name its script written as the reader called the command."""
    if not program().endswith(".py"):
        description = re.sub(r"(accelerate launch.*?) scripts/(\w+)\.py", r"\1 -m hf_newsmatch \2", description)
        description = re.sub(r"(?:python )?(?:scripts|app)/(\w+)\.py", r"hf-newsmatch \1", description)
        description = description.replace("hf-newsmatch push_to_hub", "hf-newsmatch push")
    return description.strip()
