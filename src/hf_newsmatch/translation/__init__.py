"""Translation of news texts with Marian models: sentence by sentence, each once, cached by content.

The way of a text: split it into sentences ([`sentences`]), set aside what is not to be translated ([`protection`]),
look up what was translated before ([`cache`]), generate the rest in batches ([`backends`]), refuse what no translation
can be ([`guard`]), and join the sentences again ([`translator`]). [`dataset`] does this for the rows of a data set,
[`road`] for the data of a run.
"""

from .dataset import translate_dataset
from .translator import Translator

__all__ = ["Translator", "translate_dataset"]
