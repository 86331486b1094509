"""Translation of news texts with Marian models: sentence by sentence, each once, cached by content.

A text is split into sentences ([`sentences`]); addresses and numbers are protected ([`protection`]); sentences that
were translated before come from the cache ([`cache`]) and the others from the model, in batches ([`backends`]);
outputs that cannot be translations are refused ([`guard`]); and the sentences are joined again ([`translator`]).
[`dataset`] does this for the rows of a data set.
"""

from .dataset import translate_dataset
from .translator import Translator

__all__ = ["Translator", "translate_dataset"]
