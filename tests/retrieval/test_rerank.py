"""Each method against its formula, written out over a whole matrix in float64."""

import importlib
import inspect
import itertools

import numpy as np
import pytest
import torch

from hf_newsmatch import NewsMatchError, Ranking
from hf_newsmatch.retrieval.embeddings import unit_length
from hf_newsmatch.retrieval.rerank import METHODS, Bank, offsets, rerank

# functions of the same names hide these modules from `import`
neighbours, sinkhorn = (
    importlib.import_module(f"hf_newsmatch.retrieval.rerank.{name}") for name in ("neighbours", "sinkhorn")
)

# in the literature, these methods look at all articles to be ranked
TRANSDUCTIVE = ("dual_softmax", "csls", "sinkhorn", "assignment")

SETTINGS = {
    "none": {},
    "dual_softmax": {"temperature": 0.1},
    "csls": {"neighbours": 3},
    "querybank": {"temperature": 0.1},
    "sinkhorn": {"temperature": 0.1},
    "assignment": {},
    "neighbours": {"nearest": 4, "names": 0.5, "weight": 0.4},
}
SHAPES = [(30, 30), (40, 17), (17, 40), (1, 9), (9, 1), (1, 1)]


def softmax(matrix, axis):
    exponentials = np.exp(matrix - matrix.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def dense_dual_softmax(similarities, bank, temperature):
    return softmax(similarities / temperature, 0) * softmax(similarities / temperature, 1)


def dense_csls(similarities, bank, neighbours):
    of_pictures = np.sort(similarities, axis=0)[-neighbours:].mean(axis=0)
    of_texts = np.sort(similarities, axis=1)[:, -neighbours:].mean(axis=1)
    return 2 * similarities - of_texts[:, None] - of_pictures


def dense_querybank(similarities, bank, temperature):
    normalised = np.exp(similarities / temperature) / np.exp(bank / temperature).sum(axis=0)
    active = np.isin(similarities.argmax(axis=1), bank.argmax(axis=1))
    return np.where(active[:, None], normalised, similarities)


def dense_sinkhorn(similarities, bank, temperature):
    """Scaling of rows and columns, not in the log domain; the plan itself is what is ranked."""
    articles, pictures = similarities.shape
    kernel, sums = np.exp(similarities / temperature), np.ones(articles)
    if pictures > articles:
        kernel, sums = np.vstack([kernel, np.full(pictures, 3.0)]), np.append(sums, pictures - articles)
    scale = np.ones(pictures)
    for _ in range(5000):
        rows = sums / (kernel @ scale)
        scale = max(1, articles / pictures) / (kernel.T @ rows)
    return (rows[:, None] * kernel * scale)[:articles]


def dense_neighbours(similarities, bank, nearest, names, weight):
    """Article by article; of the texts of [`known`], Ada is in a half, Bo in a third."""
    published, evidence = [set(text.split()[1:]) for text in telling(len(bank))], np.zeros_like(similarities)
    rarity = {name: np.log(len(bank) / sum(name in found for found in published)) for name in ("Ada", "Bo")}
    for row, text in enumerate(telling(len(similarities))):
        common = [sum(rarity[name] for name in found & set(text.split()[1:])) for found in published]
        closeness = (1 - names) * bank @ similarities[row] + names * np.array(common) / np.log(len(bank))
        for other in np.argsort(-closeness, kind="stable")[:nearest]:
            evidence[row] += max(0, closeness[other]) * bank[other]
        total = np.sort(closeness)[-nearest:].clip(min=0).sum()
        evidence[row] = evidence[row] / total if total else similarities[row]
    return (1 - weight) * similarities + weight * evidence


DENSE = {
    "none": lambda similarities, bank: similarities,
    "dual_softmax": dense_dual_softmax,
    "csls": dense_csls,
    "querybank": dense_querybank,
    "sinkhorn": dense_sinkhorn,
    "neighbours": dense_neighbours,
}


def names(count, letter):
    return [f"{letter}{number}" for number in range(count)]


def telling(count: int) -> list[str]:
    """Texts that have names in common."""
    return ["with" + " Ada" * (number % 2 == 0) + " Bo" * (number % 3 == 0) for number in range(count)]


def known(method: str, articles: int, bank) -> dict:
    """What the methods know that know anything: the bank is both the texts and the pictures of before."""
    bank = torch.as_tensor(bank).float()
    return {
        "querybank": {"bank": bank},
        "neighbours": {"texts": telling(articles), "bank": Bank(telling(len(bank)), bank, bank)},
    }.get(method, {})


def ranked(similarities, method, bank=((),), **settings) -> np.ndarray:
    """The order of the pictures that a method gives a matrix, through embeddings whose products it is."""
    texts, pictures = torch.as_tensor(similarities), torch.eye(similarities.shape[1])
    settings = settings | known(method, len(texts), bank)
    ranking = rerank(texts, pictures, names(len(texts), "a"), names(len(pictures), "p"), method, **settings)
    return np.array([[int(name[1:]) for name in row] for row in ranking.image_ids])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", DENSE)
def test_ranks_as_the_formula_does(method, shape, monkeypatch):
    for module in (offsets, neighbours):
        monkeypatch.setattr(module, "CHUNK", 100)  # several blocks
    generator = np.random.default_rng(sum(shape))
    # some pictures are near to all texts: otherwise the methods would hardly differ
    similarities = generator.normal(size=shape) * 0.3 + generator.normal(size=shape[1]) * 0.3
    bank = generator.normal(size=(25, shape[1])) * 0.3
    settings = SETTINGS[method] | ({"tolerance": 1e-6, "max_iterations": 5000} if method == "sinkhorn" else {})
    scores = DENSE[method](similarities, bank, **SETTINGS[method])
    order = ranked(similarities, method, bank, **settings)
    assert (np.sort(order) == np.arange(shape[1])).all()
    # neighbours in the order may be swapped where float32 cannot tell them apart
    along = np.take_along_axis(scores, order, axis=1)
    assert (np.diff(along, axis=1) <= 2e-5 * np.abs(along[:, 1:])).all()
    if min(shape) > 1 and method != "none":
        assert (order != ranked(similarities, "none")).any(), (
            "a matrix on which the method does nothing proves nothing"
        )


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4), (1, 5), (5, 1)])
def test_assignment_is_the_best_of_all_matchings(shape):
    similarities = np.random.default_rng(0).normal(size=shape)
    wide = similarities if shape[0] <= shape[1] else similarities.T
    rows = range(len(wide))
    best = max(itertools.permutations(range(wide.shape[1]), len(wide)), key=lambda columns: wide[rows, columns].sum())
    pairs = dict(zip(rows, best)) if shape[0] <= shape[1] else dict(zip(best, rows))
    plain, order = ranked(similarities, "none"), ranked(similarities, "assignment")
    for row in range(shape[0]):
        expected = plain[row].tolist()
        if row in pairs:
            expected.remove(pairs[row])
            expected.insert(0, pairs[row])
        assert order[row].tolist() == expected


def test_assignment_may_take_a_picture_that_is_not_listed():
    similarities = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.2, 0.1], [0.9, 0.8, 0.0]])
    ranking = rerank(similarities, torch.eye(3), list("abc"), list("xyz"), "assignment", k=2)
    assert sorted(row[0] for row in ranking.image_ids) == list("xyz")
    (last,) = [number for number, row in enumerate(ranking.image_ids) if row[0] == "z"]
    assert ranking.image_ids[last] == ["z", "x"]
    assert ranking.scores[last] == pytest.approx([similarities[last, 2].item(), 0.9])


def test_the_plan_of_sinkhorn_adds_up():
    torch.manual_seed(0)
    for articles, pictures in [(20, 20), (30, 12)]:
        texts, images = unit_length(torch.randn(articles, 8)), unit_length(torch.randn(pictures, 8))
        new_texts, new_images = sinkhorn.sinkhorn(texts, images, 0.05, tolerance=1e-5, max_iterations=2000)
        # the product is s - offset = s + t * g, and f follows from the sums of the rows
        plan = (new_texts.double() @ new_images.double().T / 0.05).softmax(1)
        torch.testing.assert_close(
            plan.sum(0), torch.full((pictures,), articles / pictures).double(), atol=1e-3, rtol=0
        )


def test_sinkhorn_says_when_it_stops_early(caplog):
    texts, images = unit_length(torch.randn(9, 4)), unit_length(torch.randn(9, 4))
    sinkhorn.sinkhorn(texts, images, 0.01, max_iterations=2)
    assert "after 2 iterations" in caplog.text


def test_querybank_leaves_articles_alone_whose_picture_is_no_hub():
    texts = torch.tensor([[0.9, 0.8, 0.0], [0.8, 0.9, 0.0]])
    bank = torch.tensor([[1.0, 0.0, 0.0]] * 3)
    order = ranked(texts.numpy(), "querybank", bank.numpy(), temperature=0.1)
    assert order.tolist() == [[1, 2, 0], [1, 0, 2]]


@pytest.mark.parametrize("method", METHODS)
def test_ties_and_constant_rows_keep_the_order_of_the_candidates(method):
    order = ranked(np.full((5, 7), 0.25), method, np.full((3, 7), 0.5), **SETTINGS[method])
    if method == "assignment":  # each its own picture, then the others in their order
        assert len(set(order[:, 0].tolist())) == 5
        assert (np.diff(order[:, 1:]) > 0).all()
    else:
        assert (order == np.arange(7)).all()
    # pictures 1 and 3 are the same; article 2 likes all alike
    similarities = np.array([[0.5, 0.75, 0.25, 0.75], [0.25, 0.5, 0.75, 0.5], [0.5, 0.5, 0.5, 0.5]])
    order = ranked(similarities, method, similarities, **SETTINGS[method])
    if method == "assignment":
        assert order[0].tolist() in ([1, 3, 0, 2], [3, 1, 0, 2])
    else:
        for row in order.tolist():
            assert row.index(1) < row.index(3)
    if method == "none":
        assert order[2].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("method", TRANSDUCTIVE)
def test_a_single_article_is_ranked_as_without(method):
    similarities = np.random.default_rng(1).normal(size=(1, 30))
    assert (ranked(similarities, method, **SETTINGS[method]) == ranked(similarities, "none")).all()


@pytest.mark.parametrize("method", METHODS)
def test_embeddings_of_half_precision_and_no_article(method):
    texts, images = unit_length(torch.randn(6, 4)), unit_length(torch.randn(5, 4))
    settings = SETTINGS[method] | known(method, 6, texts)
    ranking = rerank(texts.half(), images.half(), names(6, "a"), names(5, "p"), method, k=3, **settings)
    assert {len(row) for row in ranking.image_ids} == {len(row) for row in ranking.scores} == {3}
    assert rerank(texts[:0], images, [], names(5, "p"), method, **settings) == Ranking([], [], [])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_what_is_no_number(method, value):
    good, bad = torch.eye(3), torch.eye(3)
    bad[1, 0] = value
    settings = SETTINGS[method] | known(method, 3, good)
    with pytest.raises(NewsMatchError, match="article 'a1' is not finite"):
        rerank(bad, good, names(3, "a"), names(3, "p"), method, **settings)
    with pytest.raises(NewsMatchError, match="image 'p1' is not finite"):
        rerank(good, bad, names(3, "a"), names(3, "p"), method, **settings)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("magic", {}, "'magic'; the methods are none, dual_softmax"),
        ("dual_softmax", {"temperature": 0.0}, "above 0"),
        ("sinkhorn", {"temperature": float("nan")}, "above 0"),
        ("querybank", {"temperature": -1.0, "bank": torch.eye(3)}, "above 0"),
        ("querybank", {"temperature": 1.0, "bank": torch.eye(3)[:0]}, "is empty"),
        ("querybank", {"temperature": 1.0, "bank": torch.eye(4)}, "same checkpoint"),
        ("querybank", {"temperature": 1.0, "bank": torch.eye(3) * torch.nan}, "finite"),
        ("csls", {"neighbours": 0}, "1 or more"),
        ("neighbours", {"nearest": 0}, "1 or more"),
        ("neighbours", {"names": 1.5}, "share of names of neighbours must lie between 0 and 1"),
        ("neighbours", {"weight": float("nan")}, "weight of neighbours must lie between 0 and 1"),
        ("neighbours", {"texts": ["x"]}, "1 texts for neighbours, but embeddings of 3"),
        ("neighbours", {"bank": Bank([], torch.eye(3)[:0], torch.eye(3)[:0])}, "is empty"),
        ("neighbours", {"bank": Bank("abc", torch.eye(3), torch.eye(4))}, "same checkpoint"),
        ("neighbours", {"bank": Bank("abc", torch.eye(3), torch.eye(3) * torch.nan)}, "finite"),
    ],
)
def test_refuses(method, settings, message):
    if method == "neighbours":
        settings = SETTINGS[method] | known(method, 3, torch.eye(3)) | settings
    with pytest.raises(NewsMatchError, match=message):
        rerank(torch.eye(3), torch.eye(3), names(3, "a"), names(3, "p"), method, **settings)


def test_a_name_has_a_capital_within_a_sentence_and_is_never_small():
    bank = Bank(
        [
            "Storm in Harlowick. Mayor Ada spoke, Monday",
            "A storm hits Harlowick",
            "Nobody saw Ada Quandt-Elm",
            "a day",
        ],
        torch.empty(4, 1),
        torch.empty(4, 1),
    )
    # Nobody, Mayor and A only begin sentences; Storm is a storm elsewhere
    expected = {"Harlowick": 1 / 2, "Ada": 1 / 2, "Monday": 1, "Quandt-Elm": 1}
    assert bank.names == pytest.approx(expected)
    found = bank.find_names(["Ada is in Harlowick with Eve", "Ada Ada", ""]).toarray()
    columns = list(bank.names)
    assert [{columns[column] for column in row.nonzero()[0]} for row in found] == [
        {"Ada", "Harlowick"},
        {"Ada"},
        set(),
    ]
    assert found.max() == 1
    # in German every noun has a capital, and one that is in every text says nothing
    german = Bank(["ein Haus in Velmora", "das Haus", "ein Haus brennt"], torch.empty(3, 1), torch.empty(3, 1))
    assert german.names == pytest.approx({"Haus": 0, "Velmora": 1})


def test_a_shared_name_brings_the_picture_of_the_article_that_has_it():
    """The text is level between two pictures; a person was last seen on one like the second."""
    texts, pictures = torch.tensor([[0.6, 0.6, 0.5]]), torch.eye(3)
    bank = Bank(["on Bo", "on Ada", "on Bo"], torch.eye(3)[:1].repeat(3, 1), pictures)
    for text, first in (("about Ada", "p1"), ("about nobody", "p0")):
        ranking = rerank(
            texts, pictures, ["a"], names(3, "p"), "neighbours",
            texts=[text], bank=bank, nearest=2, names=1.0, weight=0.3,
        )  # fmt: skip
        assert ranking.image_ids[0][0] == first
    # without any neighbour the text stays as it is
    assert ranking.scores[0] == pytest.approx([0.6, 0.6, 0.5])


@pytest.mark.parametrize("method", METHODS)
def test_rankings_by_transductive_methods_alone_depend_on_the_other_articles(method):
    similarities, bank = np.random.default_rng(0).normal(size=(8, 9)), np.random.default_rng(1).normal(size=(7, 9))
    order = ranked(similarities, method, bank, **SETTINGS[method])
    same = [
        (ranked(similarities[:count], method, bank, **SETTINGS[method]) == order[:count]).all()
        for count in range(1, 8)
    ]
    assert METHODS[method].transductive == (method in TRANSDUCTIVE) == (not all(same))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "none"])
def test_functions_take_their_settings_and_needs_and_nothing_else_without_a_default(method):
    reranker = METHODS[method]
    parameters = list(inspect.signature(reranker.function).parameters.values())
    required = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    assert required[:2] == ["text_embeds", "image_embeds"]
    assert sorted(required[2:]) == sorted([*reranker.grid, *reranker.needs])
    assert set(reranker.needs) == set(known(method, 2, torch.eye(3)))


def test_neighbours_do_not_depend_on_the_other_articles():
    similarities, bank = np.random.default_rng(0).normal(size=(8, 9)), np.random.default_rng(1).normal(size=(7, 9))
    order = ranked(similarities, "neighbours", bank, **SETTINGS["neighbours"])
    alone = ranked(similarities[:1], "neighbours", bank, **SETTINGS["neighbours"])
    assert (order[:1] == alone).all()
