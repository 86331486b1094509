"""Evidence from earlier news: the pictures of the most similar articles."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse

from ...errors import NewsMatchError
from ..ranking import CHUNK, stable_topk

_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_WITHIN = re.compile(rf"(?<=[\w,;] ){_WORD.pattern}")  # a word that does not begin a sentence


@dataclass
class Bank:
    """Articles that were published before, each with its picture.

    Args:
        texts (`Sequence[str]`):
            The text of each article, as the model reads it.
        text_embeds (`torch.Tensor` of shape `(pairs, d)`, float32):
            Their unit-length embeddings.
        image_embeds (`torch.Tensor` of shape `(pairs, d)`, float32):
            Those of their pictures, row by row.
    """

    texts: Sequence[str]
    text_embeds: torch.Tensor
    image_embeds: torch.Tensor

    @cached_property
    def names(self) -> dict[str, float]:
        """The names in the texts with their rarity: `log(texts / texts with the name) / log(texts)`, from 0 to 1.

        A name is a word that has a capital letter within some sentence, and that no text has without one. Where all
        nouns have a capital letter, as in German, the weight tells names from other nouns. (Spärck Jones 1972, "A
        statistical interpretation of term specificity and its application in retrieval".)
        """
        words = [set(_WORD.findall(text)) for text in self.texts]
        small = {word for found in words for word in found if word[0].islower()}
        within = {word for text in self.texts for word in _WITHIN.findall(text) if word[0].isupper()}
        frequency = Counter(word for found in words for word in found & within if word.lower() not in small)
        total = np.log(max(2, len(words)))
        # in order, so that sums over names are rounded alike each time
        return {word: float(np.log(len(words) / count) / total) for word, count in sorted(frequency.items())}

    def find_names(self, texts: Sequence[str]) -> sparse.csr_array:
        """A sparse matrix of shape `(texts, names)` in float32, 1 where the text has the name."""
        columns = {word: column for column, word in enumerate(self.names)}
        found = [sorted(columns[word] for word in set(_WORD.findall(text)) & columns.keys()) for text in texts]
        indices = np.array([column for row in found for column in row], dtype=np.int64)
        starts = np.cumsum([0, *map(len, found)])
        return sparse.csr_array(
            (np.ones(len(indices), dtype=np.float32), indices, starts), shape=(len(found), len(columns))
        )

    @cached_property
    def rare_names(self) -> sparse.csr_array:
        """The matrix of [`Bank.find_names`] for the bank's own texts, with the rarity of each name in place of 1."""
        return (self.find_names(self.texts) * np.array(list(self.names.values()), dtype=np.float32)).tocsr()


def neighbours(
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
    texts: Sequence[str],
    bank: Bank,
    nearest: int,
    names: float,
    weight: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each text towards the pictures of the bank's articles that are most similar to it.

    The nearest articles n of text i have the highest

    `c_in = (1 - names) * cos(t_i, t_n) + names * m_in`,

    where `m_in` is the sum of the rarities of their common names: see [`Bank.names`]. So persons and places that a
    network cannot recognise are tied to pictures. Picture j is ranked by

    `(1 - weight) * t_i . p_j + weight * e_i . p_j`, with `e_i = sum_n w_in * v_n`,

    where `v_n` is the picture of article n, and `w_in` is proportional to `c_in` with the sum 1: the second term is
    the average similarity of the candidate with those pictures. In other words, the text moves towards the pictures,
    as a query does in relevance feedback (Rocchio 1971), and the candidates stay as they are. A text without any
    neighbour stays as it is, too.

    Not transductive: the other articles do not matter, only the bank.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.
        texts (`Sequence[str]`):
            The texts of the articles, as the model reads them.
        bank ([`Bank`]):
            The pairs of training and validation.
        nearest (`int`):
            The number of nearest articles, the first of equal ones; all of the bank when it has fewer.
        names (`float`):
            The share of the names in the similarity of two articles, from 0 to 1.
        weight (`float`):
            The share of the evidence, from 0 (none) to 1 (evidence alone).

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d)` and `(pictures, d)`, the second unchanged.

    Raises:
        [`NewsMatchError`]: on an empty bank, one that is not finite or of another checkpoint, texts and embeddings of
            different number, or settings out of their range.
    """
    _check(text_embeds, texts, bank, nearest, names, weight)
    nearest = min(nearest, len(bank.texts))
    found, moved = bank.find_names(texts), []
    size = max(1, CHUNK // len(bank.texts))
    for start, block in zip(range(0, len(texts), size), text_embeds.split(size)):
        common = found[start : start + size] @ bank.rare_names.T
        closeness = (1 - names) * (block @ bank.text_embeds.T).numpy() + names * common.toarray()
        rows, values = stable_topk(closeness, nearest)
        shares = np.zeros_like(closeness)
        np.put_along_axis(shares, rows, values.clip(min=0), axis=1)
        sums = shares.sum(axis=1, keepdims=True)
        evidence = torch.from_numpy(shares / np.where(sums > 0, sums, 1)) @ bank.image_embeds
        share = weight * torch.from_numpy(sums > 0).float()
        moved.append((1 - share) * block + share * evidence)
    return torch.cat(moved), image_embeds


def _check(
    text_embeds: torch.Tensor, texts: Sequence[str], bank: Bank, nearest: int, names: float, weight: float
) -> None:
    if not len(bank.texts):
        raise NewsMatchError("The bank of neighbours is empty; give it the pairs of training.")
    shape = (len(bank.texts), text_embeds.shape[1])
    for embeds in (bank.text_embeds, bank.image_embeds):
        if embeds.shape != shape or not torch.isfinite(embeds).all():
            raise NewsMatchError(
                "The bank of neighbours must have a text and a picture of each pair, finite and of the same checkpoint"
                " as the articles."
            )
    if len(texts) != len(text_embeds):
        raise NewsMatchError(f"There are {len(texts)} texts for neighbours, but embeddings of {len(text_embeds)}.")
    if nearest < 1:
        raise NewsMatchError(f"The nearest articles of neighbours must be 1 or more, not {nearest}.")
    for name, share in {"share of names": names, "weight": weight}.items():
        if not 0 <= share <= 1:
            raise NewsMatchError(f"The {name} of neighbours must lie between 0 and 1, not at {share}.")
