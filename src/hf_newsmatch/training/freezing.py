"""Which weights train, and how fast: one tower or both, the last layers only, lower layers more slowly."""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_pt_utils import get_parameter_names

from ..errors import NewsMatchError
from ..models.architectures import architecture_of, layer_of

_NORMS = [nn.LayerNorm, nn.modules.batchnorm._BatchNorm]


def freeze(
    model: PreTrainedModel, towers: str = "both", last_layers: int | None = None, loss: str | None = None
) -> None:
    """Freeze, in place, all weights but those to train; `logit_scale` always trains, and `logit_bias`.

    Weights that are frozen already stay frozen, and those that no embedding depends on are. Autograd needs no graph
    below the first weight that trains, so frozen lower layers cost no memory for activations and no backward pass.

    Args:
        model (`PreTrainedModel`):
            The model.
        towers (`str`, *optional*, defaults to `"both"`):
            `"vision"` or `"text"` freezes the other tower with its projection.
        last_layers (`int`, *optional*):
            How many layers train in each trained tower, beside its final norm and projection; with 0 these alone. By
            default all layers and the embeddings.
        loss (`str`, *optional*):
            `"softmax"`, which uses no `logit_bias`, or `"sigmoid"`; by default the architecture's.

    Raises:
        [`NewsMatchError`]: when a tower has fewer layers.
    """
    architecture = architecture_of(model.config)
    places = _places(model)
    layers = architecture.count_layers(name for name, _ in model.named_parameters())
    trained = layers if towers == "both" else {towers: layers[towers]}
    if last_layers is not None and last_layers > min(trained.values()):
        having = " and ".join(f"{count} in the {tower} tower" for tower, count in trained.items())
        raise NewsMatchError(f"--unfreeze_last_layers {last_layers} is more layers than there are ({having}).")
    for name, parameter in model.named_parameters():
        tower, depth = places[name]
        kept = tower in trained and not architecture.is_unused(name)
        if tower is None:
            kept = name != architecture.bias or (loss or architecture.loss) == "sigmoid"
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
            A dual encoder, with or without adapters.
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
    places = _places(model)
    scalars = [rf"{name}$" for name in architecture_of(model.config).scalars]
    decaying = set(get_parameter_names(model, _NORMS, [r"bias$", *scalars]))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * layerwise_lr_decay ** places[name][1]
            decay = weight_decay if decay_biases_and_norms or name in decaying else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": groups[rate, decay], "lr": rate, "weight_decay": decay}
        for rate, decay in sorted(groups, reverse=True)
    ]


def trained_linears(model: PreTrainedModel) -> Iterator[str]:
    """The full names of the linear modules inside transformer layers that train: attention and MLP."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and layer_of(f"{name}.") and module.weight.requires_grad:
            yield name


def hold_statistics(model: nn.Module) -> None:
    """Let batch norms normalise with the statistics of the base model, in training too.

    Those of a batch would depend on its size and its chunks, drift in a frozen tower, and differ among processes.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _places(model: nn.Module) -> dict[str, tuple[str | None, int]]:
    """The place of each parameter of a model, with or without adapters, as [`Architecture.places`] tells it."""
    names = {name: name.removeprefix("base_model.model.") for name, _ in model.named_parameters()}
    places = architecture_of(model.config).places(names.values())
    return {name: places[plain] for name, plain in names.items()}
