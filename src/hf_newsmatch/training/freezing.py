"""Which weights of CLIP train, and how fast: one tower or both, the last layers only, lower layers more slowly."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn
from transformers import CLIPModel, TrainerCallback
from transformers.trainer_pt_utils import get_parameter_names

from ..errors import NewsMatchError

if TYPE_CHECKING:
    from .trainer import ContrastiveTrainingArguments

# A tower and its projection, by the first part of the names of their weights.
_TOWERS = {
    "vision_model": "vision",
    "visual_projection": "vision",
    "text_model": "text",
    "text_projection": "text",
}
_LAYER = re.compile(r"\.encoder\.layers\.(\d+)\.")
_INPUT = re.compile(r"_model\.(embeddings|pre_layrnorm)\.")

# Optimizers of transformers that form the groups themselves, from the whole model.
_OWN_GROUPS = ("galore", "apollo", "lomo", "adalomo")


def check_options(args: "ContrastiveTrainingArguments") -> None:
    """Refuse options about what trains that are out of range or do not go together.

    Raises:
        `ValueError`: one sentence that names the option and the remedy.
    """
    if args.train_towers not in ("both", "vision", "text"):
        raise ValueError(f"--train_towers is both, vision or text, not {args.train_towers}.")
    if args.unfreeze_last_layers is not None and args.unfreeze_last_layers < 0:
        raise ValueError(f"--unfreeze_last_layers must be at least 0, not {args.unfreeze_last_layers}.")
    if not 0 < args.layerwise_lr_decay <= 1:
        raise ValueError(
            f"--layerwise_lr_decay must lie above 0 and be at most 1 (none), not {args.layerwise_lr_decay}."
        )
    if not args.coupled_weight_decay and args.optim.startswith(_OWN_GROUPS):
        for name, default in (("layerwise_lr_decay", 1.0), ("decay_biases_and_norms", None)):
            if getattr(args, name) != default:
                raise ValueError(f"--optim {args.optim.value} forms its own groups of weights; leave out --{name}.")
    frozen = args.train_towers != "both" or args.unfreeze_last_layers is not None or args.lora_rank is not None
    # what of them goes to torch, which is reentrant unless told not to be; given nothing, transformers tells it
    checkpointing = args.activation_checkpointing_kwargs or {}
    checkpointing = {name: checkpointing[name] for name in checkpointing.keys() - {"every_n_layers", "offload"}}
    if frozen and checkpointing and checkpointing.get("use_reentrant", True):
        raise ValueError(
            "With frozen weights, activations must not be checkpointed the reentrant way; add use_reentrant false to"
            " --activation_checkpointing_kwargs."
        )

    if args.lora_rank is None:
        for name, default in (("lora_alpha", None), ("lora_dropout", 0.0)):
            if getattr(args, name) != default:
                raise ValueError(f"--{name} takes effect with --lora_rank only; add that.")
        return
    if args.lora_rank < 1:
        raise ValueError(f"--lora_rank must be at least 1, not {args.lora_rank}.")
    if args.lora_alpha is not None and args.lora_alpha <= 0:
        raise ValueError(f"--lora_alpha must be positive, not {args.lora_alpha}.")
    if not 0 <= args.lora_dropout < 1:
        raise ValueError(f"--lora_dropout must be at least 0 and below 1, not {args.lora_dropout}.")
    if args.unfreeze_last_layers == 0:
        raise ValueError("--lora_rank adapts layers and --unfreeze_last_layers 0 leaves none; give at least 1.")
    if args.decay_biases_and_norms is not None:
        raise ValueError("--lora_rank trains no biases and norms; leave out --decay_biases_and_norms.")


def freeze(model: CLIPModel, towers: str = "both", last_layers: int | None = None) -> None:
    """Stop the gradients of all weights but those to train, in place; `logit_scale` trains on.

    What is frozen already stays frozen. Autograd needs no graph below the first weight that trains, so that frozen
    lower layers cost no memory for activations and no backward pass.

    Args:
        model (`CLIPModel`):
            The model.
        towers (`str`, *optional*, defaults to `"both"`):
            `"vision"` or `"text"` freezes the other tower with its projection.
        last_layers (`int`, *optional*):
            How many layers train in each trained tower, beside its final norm and projection: 0 for these alone. All
            layers and the embeddings without it.

    Raises:
        [`NewsMatchError`]: when a tower has fewer layers.
    """
    layers = _layers(model)
    trained = layers if towers == "both" else {towers: layers[towers]}
    if last_layers is not None and last_layers > min(trained.values()):
        having = " and ".join(f"{count} in the {tower} tower" for tower, count in trained.items())
        raise NewsMatchError(f"--unfreeze_last_layers {last_layers} is more layers than there are ({having}).")
    for name, parameter in model.named_parameters():
        tower, depth = _place(name, layers)
        kept = tower is None or tower in trained
        if not kept or (last_layers is not None and depth > last_layers):
            parameter.requires_grad_(False)


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    layerwise_lr_decay: float = 1.0,
    decay_biases_and_norms: bool = True,
) -> list[dict]:
    """Group the weights that train by learning rate and weight decay, for any optimizer of torch's kind.

    The learning rate falls from the output to the input of each tower, as in BEiT's published code (Bao et al. 2022):
    with `L` layers and decay `D`, projections, final norms and `logit_scale` have the whole rate, layer `i` (from 0)
    has `D^(L-i)` of it, embeddings and the norm after them `D^(L+1)`.

    Args:
        model (`nn.Module`):
            CLIP, with or without adapters.
        learning_rate (`float`):
            The rate at the output.
        weight_decay (`float`):
            The weight decay of what decays.
        layerwise_lr_decay (`float`, *optional*, defaults to 1.0):
            `D`.
        decay_biases_and_norms (`bool`, *optional*, defaults to `True`):
            Whether biases, layer norms and `logit_scale` decay as well.

    Returns:
        `list[dict]`: each with `params`, `lr` and `weight_decay`, the highest rate first (it is the one that `Trainer`
        logs), then the higher decay; the weights of a group in the model's order. One group when nothing differs.
    """
    layers = _layers(model)
    decaying = set(get_parameter_names(model, [nn.LayerNorm], [r"bias$", r"logit_scale$"]))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * layerwise_lr_decay ** _place(name, layers)[1]
            decay = weight_decay if decay_biases_and_norms or name in decaying else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": groups[rate, decay], "lr": rate, "weight_decay": decay}
        for rate, decay in sorted(groups, reverse=True)
    ]


def trained_linears(model: CLIPModel) -> Iterator[str]:
    """The full names of the linear modules inside transformer layers that train: attention and MLP."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and _LAYER.search(name) and module.weight.requires_grad:
            yield name


class NoGraphBelow(TrainerCallback):
    """Undoes what `transformers` does with activation checkpointing: it makes the embeddings' outputs need gradients.

    Reentrant checkpointing of old needed that. The kind that is used now does not, and with frozen embeddings it would
    send a backward pass through all frozen layers.
    """

    def on_train_begin(self, args, state, control, model: nn.Module | None = None, **kwargs):
        model.disable_input_require_grads()


def _place(name: str, layers: dict[str, int]) -> tuple[str | None, int]:
    """The tower of a weight, none for `logit_scale`, and how many steps it lies below the tower's output."""
    name = name.removeprefix("base_model.model.")  # inside a PeftModel
    tower = _TOWERS.get(name.split(".")[0])
    if layer := _LAYER.search(name):
        return tower, layers[tower] - int(layer[1])
    return tower, layers[tower] + 1 if _INPUT.search(name) else 0


def _layers(model: nn.Module) -> dict[str, int]:
    return {
        "vision": model.config.vision_config.num_hidden_layers,
        "text": model.config.text_config.num_hidden_layers,
    }
