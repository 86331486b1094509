"""Which weights of CLIP train, and how fast: one tower or both, the last layers only, lower layers more slowly."""

from collections.abc import Iterator

from torch import nn
from transformers import CLIPModel
from transformers.trainer_pt_utils import get_parameter_names

from ..errors import NewsMatchError
from ..models.architectures import CLIP


def freeze(model: CLIPModel, towers: str = "both", last_layers: int | None = None) -> None:
    """Freeze, in place, all weights but those to train; `logit_scale` always trains.

    Weights that are frozen already stay frozen. Autograd needs no graph below the first weight that trains, so frozen
    lower layers cost no memory for activations and no backward pass.

    Args:
        model (`CLIPModel`):
            The model.
        towers (`str`, *optional*, defaults to `"both"`):
            `"vision"` or `"text"` freezes the other tower with its projection.
        last_layers (`int`, *optional*):
            How many layers train in each trained tower, beside its final norm and projection; with 0 these alone. By
            default all layers and the embeddings.

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
            The weight decay of the weights that decay.
        layerwise_lr_decay (`float`, *optional*, defaults to 1.0):
            `D`.
        decay_biases_and_norms (`bool`, *optional*, defaults to `True`):
            Whether biases, layer norms and `logit_scale` decay as well.

    Returns:
        `list[dict]`: groups with `params`, `lr` and `weight_decay`, the highest rate first (`Trainer` logs that one),
        then the higher decay; the weights of a group in the model's order. One group when nothing differs.
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
        if isinstance(module, nn.Linear) and CLIP.layer.search(name) and module.weight.requires_grad:
            yield name


def _place(name: str, layers: dict[str, int]) -> tuple[str | None, int]:
    """The tower of a weight, none for `logit_scale`, and how many steps it lies below the tower's output."""
    name = name.removeprefix("base_model.model.")  # inside a PeftModel
    tower = CLIP.tower(name)
    if tower is None:
        return None, 0
    if layer := CLIP.layer.search(name):
        return tower, layers[tower] - int(layer[1])
    return tower, layers[tower] + 1 if CLIP.input.search(name) else 0


def _layers(model: nn.Module) -> dict[str, int]:
    return {
        "vision": model.config.vision_config.num_hidden_layers,
        "text": model.config.text_config.num_hidden_layers,
    }
