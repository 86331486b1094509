"""Low-rank adapters (LoRA, Hu et al. 2021) through peft, and merging them into an ordinary checkpoint."""

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, set_seed

from ..errors import NewsMatchError
from ..models.architectures import architecture_of, layer_of
from .arguments import ContrastiveTrainingArguments
from .freezing import freeze, trained_linears

if TYPE_CHECKING:
    from peft import PeftModel


def trainable(model: PreTrainedModel, args: ContrastiveTrainingArguments) -> "PreTrainedModel | PeftModel":
    """The model with what the arguments freeze frozen, in place, and with the adapters that they ask for."""
    freeze(model, args.train_towers, args.unfreeze_last_layers, args.loss)
    if args.lora_rank is None:
        return model
    set_seed(args.seed)  # of the adapters' first values; Trainer does the same next
    return add_lora(model, args.lora_rank, args.lora_alpha, args.lora_dropout)


def add_lora(model: PreTrainedModel, rank: int, alpha: float | None = None, dropout: float = 0.0) -> "PeftModel":
    """Put adapters on the layers that train, and freeze all other weights.

    All linear modules of these layers, in attention and MLP, are adapted: with fewer, LoRA falls behind full
    fine-tuning (Dettmers et al. 2023, section 4). A new adapter has random values but leaves the outputs unchanged.

    Args:
        model (`PreTrainedModel`):
            The model; its modules are replaced in place.
        rank (`int`):
            The rank of the change of each weight matrix.
        alpha (`float`, *optional*, defaults to `rank`):
            The change is multiplied by `alpha / rank`.
        dropout (`float`, *optional*, defaults to 0.0):
            Dropout before the adapters.

    Raises:
        [`NewsMatchError`]: when peft is not installed, or no layer of the model trains.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise NewsMatchError("--lora_rank needs peft; pip install 'hf-newsmatch[peft]' brings it.") from error

    modules = list(trained_linears(model))
    if not modules:
        raise NewsMatchError(
            "--lora_rank adapts the linear modules of layers, and none of this model's trains: unfreeze some, or train"
            " a tower of convolutions without it."
        )
    without = set(_trained_towers(model)) - {architecture_of(model.config).tower(name) for name in modules}
    if without:
        raise NewsMatchError(
            f"--lora_rank finds no linear modules in the {min(without)} tower, whose layers are convolutions; leave it"
            f" out, or adapt the other tower alone with --train_towers."
        )
    alpha = rank if alpha is None else alpha
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules)
    with warnings.catch_warnings():
        # peft still asks transformers for a deprecated attribute
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, config)


def _trained_towers(model: PreTrainedModel) -> Iterator[str]:
    """The towers that have layers which train."""
    architecture = architecture_of(model.config)
    for name, parameter in model.named_parameters():
        tower = architecture.tower(name)
        if tower is not None and layer_of(name) and parameter.requires_grad:
            yield tower


def merged(model: "PreTrainedModel | PeftModel") -> PreTrainedModel:
    """An ordinary model with the same outputs: the adapters added to its weights, or the model itself without them.

    A model with adapters is copied, so that its training can continue. Weights without an adapter stay as they were.
    """
    return model if isinstance(model, PreTrainedModel) else copy.deepcopy(model).merge_and_unload()
