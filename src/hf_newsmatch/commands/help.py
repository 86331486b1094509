"""The text of `--help`: examples, our groups of flags, and the flags of `TrainingArguments` that matter."""

import argparse
import re
import shutil

from ..configs import ContrastiveOptions
from ..errors import program
from .flags import TRAINING_ARGUMENTS, Flag, Unknown, flags_of

WIDTHS = 80, 119  # columns, at least and at most

# the flags of a training that `--help` shows; our own are in the group before the last, wherever they are not here
TRAINING_GROUPS = {
    "length, batches and learning rate": (
        *("output_dir", "num_train_epochs", "max_steps", "per_device_train_batch_size"),
        *("gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
        *("weight_decay", "max_grad_norm", "optim", "seed"),
    ),
    "contrastive fine-tuning": (),
    "precision, memory and workers": (
        *("bf16", "fp16", "tf32", "activation_checkpointing", "torch_compile", "use_cpu"),
        *("dataloader_num_workers", "ddp_timeout"),
    ),
    "evaluation, checkpoints and logging": (
        *("eval_strategy", "eval_steps", "per_device_eval_batch_size", "load_best_model_at_end"),
        *("metric_for_best_model", "save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint"),
        *("logging_strategy", "logging_steps", "report_to", "run_name"),
    ),
    "Hugging Face Hub": ("push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_token"),
}
OWN_GROUP = "contrastive fine-tuning"
# fields of ours that are set so that transformers' code suits this training, and are not to be set otherwise
_FIXED = {"remove_unused_columns", "hub_strategy", "ddp_find_unused_parameters", "dataloader_drop_last"}


def group_flags(item: type | str) -> tuple[dict[str, list[Flag]], list[Flag]]:
    """The flags of a dataclass by the title of their group, and those that only `--help_all` shows."""
    flags = flags_of(item)
    if item != TRAINING_ARGUMENTS:
        return {getattr(item, "_argument_group_name", "flags"): list(flags.values())}, []
    named = {name for names in TRAINING_GROUPS.values() for name in names}
    own = [name for name in flags_of(ContrastiveOptions) if name not in named | _FIXED]
    groups = {
        title: [flags[name] for name in (own if title == OWN_GROUP else names) if name in flags]
        for title, names in TRAINING_GROUPS.items()
    }
    return groups, [flag for name, flag in flags.items() if name not in named | set(own)]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, from 80 columns on, with one spelling a flag."""

    def __init__(self, prog: str):
        least, most = WIDTHS
        width = min(max(shutil.get_terminal_size().columns, least), most)
        super().__init__(prog, max_help_position=30, width=width)

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


def flag_help(flag: Flag, short: bool = False) -> str:
    """The help of a flag with its default; only its first sentence where it is to be short."""
    text = flag.help
    if short:
        text = re.split(r"(?<=[\w)`'])[.;] ", text)[0].removesuffix(".") + "."
    default = flag.default
    if default is None or default is Unknown or default == "" or default == []:
        return text
    if isinstance(default, bool):
        default = f"on; --no_{flag.name} turns it off" if default else None
    elif isinstance(default, list):
        default = " ".join(map(str, default))
    return f"{text} (default: {default})" if default is not None else text


def as_called(description: str) -> str:
    """A command's docstring, with the examples that name its script written as the reader called the command."""
    if not program().endswith(".py"):
        description = re.sub(r"(accelerate launch.*?) scripts/(\w+)\.py", r"\1 -m hf_newsmatch \2", description)
        description = re.sub(r"(?:python )?(?:scripts|app)/(\w+)\.py", r"hf-newsmatch \1", description)
        description = description.replace("hf-newsmatch push_to_hub", "hf-newsmatch push")
    return description.strip()
