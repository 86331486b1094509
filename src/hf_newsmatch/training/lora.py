"""Low-rank adapters (LoRA, Hu et al. 2021) through peft, and their way back into an ordinary CLIP checkpoint."""

import copy
import warnings
from typing import TYPE_CHECKING

from transformers import CLIPModel

from ..errors import NewsMatchError
from .freezing import trained_linears

if TYPE_CHECKING:
    from peft import PeftModel


def add_lora(model: CLIPModel, rank: int, alpha: float | None = None, dropout: float = 0.0) -> "PeftModel":
    """Put adapters on the layers of CLIP that train, and freeze all else.

    Adapted are all linear modules of these layers, in attention and MLP: with fewer, LoRA falls behind full
    fine-tuning (Dettmers et al. 2023, section 4). A new adapter changes nothing yet. Its first values are random.

    Args:
        model (`CLIPModel`):
            The model; its modules are replaced in place.
        rank (`int`):
            The rank of the change of each weight matrix.
        alpha (`float`, *optional*, defaults to `rank`):
            The change is multiplied by `alpha / rank`.
        dropout (`float`, *optional*, defaults to 0.0):
            Dropout before the adapters.

    Raises:
        [`NewsMatchError`]: without peft, or when no layer of the model trains.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise NewsMatchError("--lora_rank needs peft; pip install 'hf-newsmatch[peft]'.") from error

    modules = list(trained_linears(model))
    if not modules:
        raise NewsMatchError("--lora_rank adapts layers, and none of this model trains; unfreeze some.")
    alpha = rank if alpha is None else alpha
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules)
    with warnings.catch_warnings():
        # peft asks for it by the name that transformers is giving up
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, config)


def merged(model: "CLIPModel | PeftModel") -> CLIPModel:
    """An ordinary CLIP of the same outputs, with the adapters added to its weights; the model itself if it has none.

    With adapters it is a copy, so that training could go on. What was not adapted has the base's very weights.
    """
    return model if isinstance(model, CLIPModel) else copy.deepcopy(model).merge_and_unload()
