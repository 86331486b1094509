"""Diagnostics of runs: changes in rank (the paper's Table 4), groups of articles, cases, hubs, near-duplicates."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import NewsMatchError
from ..retrieval.ranking import MAX_RANK, Ranking
from .bootstrap import bootstrap_intervals
from .scoring import gold_ranks

if TYPE_CHECKING:
    from imagehash import ImageHash

LOST = 10  # an article counts as lost when its true picture is beyond this place in every run
NEAR_DUPLICATE = 4  # of the 64 bits of two perceptual hashes, how many may differ


class Case(NamedTuple):
    """An article that shows how runs differ.

    Args:
        article (`int`):
            Its place in the gold.
        amount (`float`):
            The difference in ranks, or the rank, that it was chosen and sorted by.
    """

    article: int
    amount: float


def true_ranks(rankings: Mapping[str, Ranking], gold: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The rank of the true picture of each article of the gold, in each run.

    Args:
        rankings (`Mapping[str, Ranking]`):
            Name to ranking.
        gold (`Mapping[str, str]`):
            Article id to true picture id.

    Returns:
        `dict[str, np.ndarray]`: run to a float64 array of shape `(articles,)` in the order of the gold; infinity where
        the picture is not in the list.

    Raises:
        [`NewsMatchError`]: as [`gold_ranks`].
    """
    return {
        run: np.array([np.inf if rank is None else rank for rank in gold_ranks(ranking, gold).values()], dtype=float)
        for run, ranking in rankings.items()
    }


def rank_changes(zero_shot: np.ndarray, fine_tuned: np.ndarray, wise_ft: np.ndarray) -> dict[str, dict[str, Any]]:
    """The average improvement and decrease in rank from fine-tuning to WiSE-FT (the paper's Table 4).

    The paper's table is "when found in the top 100" and assumes "an improvement from zero-shot to finetuning". As
    a condition, that leaves the articles with r_ft < r_zs, r_ft <= 100 and r_wise <= 100; the text permits a second
    reading without the first of the three. Articles whose rank stays do not enter the averages.

    Args:
        zero_shot, fine_tuned, wise_ft (`np.ndarray` of shape `(articles,)`):
            Ranks, as [`true_ranks`] gives them.

    Returns:
        `dict`: for the readings `"improved_by_fine_tuning"` and `"all"`, the number of `articles` that qualify, how
        many of them `improved`, `decreased` and stayed `unchanged`, the mean `improvement` of the first and the mean
        `decrease` of the second, in ranks and both positive; `None` where there is none.
    """
    found = (fine_tuned <= MAX_RANK) & (wise_ft <= MAX_RANK)
    changes = {}
    for reading, chosen in {"improved_by_fine_tuning": found & (fine_tuned < zero_shot), "all": found}.items():
        change = fine_tuned[chosen] - wise_ft[chosen]
        better, worse = change[change > 0], -change[change < 0]
        changes[reading] = {
            "articles": int(chosen.sum()),
            "improvement": float(better.mean()) if len(better) else None,
            "improved": len(better),
            "decrease": float(worse.mean()) if len(worse) else None,
            "decreased": len(worse),
            "unchanged": int((change == 0).sum()),
        }
    return changes


def recall_curve(ranks: np.ndarray, max_rank: int = MAX_RANK) -> np.ndarray:
    """Recall@k for each k from 1 to `max_rank`: a float64 array of shape `(max_rank,)`."""
    return (ranks[:, None] <= np.arange(1, max_rank + 1)).mean(axis=0)


def score_groups(
    ranks: Mapping[str, np.ndarray], labels: Sequence[str], clusters: Sequence[Hashable], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The MRR@100 of each run in each group of articles, and the differences to the first run.

    Args:
        ranks (`Mapping[str, np.ndarray]`):
            As [`true_ranks`] gives them.
        labels (`Sequence[str]`):
            The group of each article.
        clusters (`Sequence[Hashable]`):
            The true picture of each article.
        seed (`int`, *optional*, defaults to 0):
            Seed of the bootstrap, which draws within a group.

    Returns:
        `dict`: group, in alphabetical order, to `{"articles", "runs", "differences"}`, the last two run to
        `{"mean", "low", "high"}`.
    """
    group_of = np.asarray(labels, dtype=object)
    first = next(iter(ranks))
    groups = {}
    for label in sorted(set(labels)):
        rows = np.flatnonzero(group_of == label)
        scores = {run: 1 / places[rows] for run, places in ranks.items()}
        columns = {("runs", run): values for run, values in scores.items()}
        columns |= {("differences", run): values - scores[first] for run, values in scores.items() if run != first}
        group: dict[str, Any] = {"articles": len(rows), "runs": {}, "differences": {}}
        drawn = [clusters[row] for row in rows.tolist()]
        for (kind, run), interval in bootstrap_intervals(columns, drawn, seed=seed).items():
            group[kind][run] = interval._asdict()
        groups[label] = group
    return groups


def length_groups(texts: Sequence[str]) -> list[str]:
    """The group of each text, by number of words, in three groups of about equal size."""
    words = np.array([len(text.split()) for text in texts])
    low, high = np.quantile(words, (1 / 3, 2 / 3), method="lower")
    names = (f"1: up to {low} words", f"2: up to {high} words", f"3: over {high} words")
    return [names[int(count > low) + int(count > high)] for count in words]


def find_cases(ranks: Mapping[str, np.ndarray]) -> dict[str, list[Case]]:
    """Find the articles that show how runs differ, as the paper's Figures 1 to 3 do.

    Args:
        ranks (`Mapping[str, np.ndarray]`):
            As [`true_ranks`] gives them, of two runs or of three: zero-shot, fine-tuned and WiSE-FT, in this order.

    Returns:
        `dict[str, list[Case]]`, the most striking first, equal ones in the order of the gold. A picture beyond the
        list counts as on the place 101. With three runs only:

        - `"repaired"`: worse after fine-tuning than before, and better again with WiSE-FT; by the places WiSE-FT won
          back.
        - `"undone"`: better after fine-tuning than before, and worse again with WiSE-FT; by the places lost.

        And always:

        - `"gains"` and `"losses"`: better, and worse, in the last run than in the first; by the places.
        - `"won"`: on the first place in every run.
        - `"lost"`: beyond the tenth place in every run; by the best of its ranks.

    Raises:
        [`NewsMatchError`]: when there are not two or three runs.
    """
    if len(ranks) not in (2, 3):
        raise NewsMatchError(f"Cases are found in two or three runs, not in {len(ranks)}.")
    places = np.minimum(np.stack(list(ranks.values())), MAX_RANK + 1)
    first, before, last = places[0], places[-2], places[-1]
    cases = {}
    if len(places) == 3:
        cases["repaired"] = _sorted_cases((before > first) & (last < before), before - last)
        cases["undone"] = _sorted_cases((before < first) & (last > before), last - before)
    cases["gains"] = _sorted_cases(last < first, first - last)
    cases["losses"] = _sorted_cases(last > first, last - first)
    cases["won"] = _sorted_cases((places == 1).all(axis=0), np.ones_like(first))
    cases["lost"] = _sorted_cases((places > LOST).all(axis=0), places.min(axis=0))
    return cases


def _sorted_cases(chosen: np.ndarray, amounts: np.ndarray) -> list[Case]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-amounts[rows], kind="stable")]
    return [Case(int(row), float(amounts[row])) for row in rows]


def hubness(ranking: Ranking, candidates: Collection[str], k: int = 10) -> dict[str, Any]:
    """Measure whether some pictures turn up in too many lists (Radovanovic, Nanopoulos and Ivanovic 2010).

    Args:
        ranking ([`Ranking`]):
            The lists.
        candidates (`Collection[str]`):
            The ids of all pictures, including those in no list.
        k (`int`, *optional*, defaults to 10):
            The number of places of each list that count.

    Returns:
        `dict`: `"k"`; `"skewness"` of the number of lists a picture is in, 0 when all are in equally many (NaN when
        that holds exactly); `"never"`, the pictures in no list; and `"hubs"`, those in more lists than two standard
        deviations above the mean, as `(image_id, lists)`, the most frequent first.
    """
    counts = dict.fromkeys(candidates, 0)
    for image_ids in ranking.image_ids:
        for image_id in image_ids[:k]:
            counts[image_id] += 1
    values = np.array(list(counts.values()), dtype=float)
    centred, deviation = values - values.mean(), values.std()
    limit = values.mean() + 2 * deviation
    hubs = sorted(((name, count) for name, count in counts.items() if count > limit), key=lambda hub: -hub[1])
    return {
        "k": k,
        "skewness": float((centred**3).mean() / deviation**3) if deviation else float("nan"),
        "never": int((values == 0).sum()),
        "hubs": hubs,
    }


def near_duplicates(hashes: Mapping[str, "ImageHash"], max_distance: int = NEAR_DUPLICATE) -> dict[str, set[str]]:
    """Find pictures that look the same, whose perceptual hashes differ in few bits.

    Args:
        hashes (`Mapping[str, imagehash.ImageHash]`):
            Picture id to its hash of 64 bits, as `imagehash.phash` gives it.
        max_distance (`int`, *optional*, defaults to 4):
            The number of bits that may differ.

    Returns:
        `dict[str, set[str]]`: the look-alikes of each picture that has any, without itself.
    """
    names = list(hashes)
    bits = np.array([np.packbits(hashes[name].hash).view(np.uint64)[0] for name in names], dtype=np.uint64)
    found: dict[str, set[str]] = {}
    for row, code in enumerate(bits):
        alike = np.flatnonzero(np.bitwise_count(bits ^ code) <= max_distance)
        if len(alike) > 1:
            found[names[row]] = {names[other] for other in alike if other != row}
    return found


def lenient_ranks(
    rankings: Mapping[str, Ranking], gold: Mapping[str, str], duplicates: Mapping[str, Collection[str]]
) -> dict[str, np.ndarray]:
    """[`true_ranks`] with a near-duplicate of the true picture counted as the true picture.

    Args:
        rankings, gold:
            As for [`true_ranks`].
        duplicates (`Mapping[str, Collection[str]]`):
            As [`near_duplicates`] gives them.

    Returns:
        `dict[str, np.ndarray]`, as [`true_ranks`]; no rank is worse than there.
    """
    ranks = true_ranks(rankings, gold)
    for run, ranking in rankings.items():
        lists = dict(zip(ranking.article_ids, ranking.image_ids))
        for row, (article_id, image_id) in enumerate(gold.items()):
            accepted = duplicates.get(image_id)
            if accepted:
                places = (place for place, name in enumerate(lists.get(article_id, ()), start=1) if name in accepted)
                ranks[run][row] = min(ranks[run][row], next(places, np.inf))
    return ranks
