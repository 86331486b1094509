"""German data: translated before the split, in every step alike."""

import dataclasses

import datasets
import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.data import images
from hf_newsmatch.data.corpus import load_corpus
from hf_newsmatch.data.english import decide_translation
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.models.architectures import ARCHITECTURES
from hf_newsmatch.translation import translator
from tests.utils.news import make_picture
from tests.utils.parallel import all_sentences

SENTENCES = all_sentences()[:20]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def news(tmp_path):
    """Linked German articles and an unlinked German test list."""
    (tmp_path / "images").mkdir()
    lines = ["article_id\ttitle\ttext\tlanguage\timage_id\timage_file"]
    for i, (source, _) in enumerate(SENTENCES):
        make_picture(i).save(tmp_path / "images" / f"P{i}.png")
        lines.append(f"a{i}\t{source.rstrip('.')}\t{source}\tde\tP{i}\tP{i}.png")
    (tmp_path / "articles.tsv").write_text("\n".join(lines) + "\n")
    test = [
        "article_id\ttitle\ttext\tlanguage",
        *(line.rsplit("\t", 2)[0].replace("a", "t", 1) for line in lines[1:6]),
    ]
    (tmp_path / "test.tsv").write_text("\n".join(test) + "\n")
    return tmp_path


def arguments(folder, marian, **kwargs) -> DataArguments:
    return DataArguments(
        articles_file=str(folder / "articles.tsv"),
        test_articles_file=str(folder / "test.tsv"),
        test_images=str(folder / "images"),
        **{"translate": True, "translation_model": str(marian), **kwargs},
    )


def test_pairs_and_test_articles_are_translated(news, marian):
    corpus = load_corpus(arguments(news, marian))
    texts = [*corpus.train["text"], *corpus.validation["text"]]
    assert texts == [target for _, target in SENTENCES]
    assert corpus.splits["test"].articles["text"][:] == [target for _, target in SENTENCES[:5]]
    assert set(corpus.train["language"]) == {"en"}
    assert corpus.train["image"][0].size == make_picture(0).size
    report = corpus.report["translation"]
    assert (report["model"], report["kept"]) == (str(marian), [])
    assert report["sentences"] == 2 * (len(SENTENCES) + 5)


def test_only_what_clip_reads_is_translated(news, marian):
    corpus = load_corpus(arguments(news, marian, text_fields=["title"]))
    assert corpus.report["translation"]["sentences"] == len(SENTENCES) + 5
    assert corpus.train["text"][0] == SENTENCES[0][0]


def test_without_the_flag_nothing_is(news):
    corpus = load_corpus(arguments(news, "no/such-model", translate=False))
    assert corpus.train["text"][0] == SENTENCES[0][0]
    assert corpus.report["translation"] is None


def test_english_data_need_no_model(news, marian):
    """The recipe of a German data set serves the lists with English columns, too."""
    for name in ("articles.tsv", "test.tsv"):
        header, *lines = (news / name).read_text().splitlines()
        rows = [f"{header}\ttitleEN\ttextEN", *(f"{line}\tTitle {i}\tText {i}" for i, line in enumerate(lines))]
        (news / name).write_text("\n".join(rows) + "\n")
    corpus = load_corpus(arguments(news, "no/such-model"))
    assert corpus.train["text"][0] == "Text 0"
    # unless the user wants a translation of their own
    corpus = load_corpus(arguments(news, marian, use_english_columns=False))
    assert corpus.train["text"][0] == SENTENCES[0][1]


def test_later_steps_read_the_same_from_the_cache(news, marian, checkpoints, monkeypatch):
    model_args = ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))
    experiment, corpus = Experiment.create(news / "run", arguments(news, marian), model_args)
    experiment.save()
    assert experiment.record.data.translation.sentences == 2 * (len(SENTENCES) + 5)

    class Loaded(translator.Translator):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.checkpoint.load_model = lambda dtype: pytest.fail("the model was loaded again")

    monkeypatch.setattr(translator, "Translator", Loaded)
    again = Experiment.open(news / "run").data()
    assert again.train["text"][:] == corpus.train["text"][:]
    assert again.splits["test"].articles[:] == corpus.splits["test"].articles[:]


def test_the_model_is_looked_up_before_pictures_are_decoded(news, monkeypatch):
    """Also when only the test list is German."""
    pairs = (news / "articles.tsv").read_text().replace("\tde\t", "\ten\t")
    (news / "articles.tsv").write_text(pairs)
    monkeypatch.setattr(images, "check_pictures", lambda *args: pytest.fail("pictures were decoded"))
    with pytest.raises(NewsMatchError, match="No Marian checkpoint in 'no/such-model'"):
        load_corpus(arguments(news, "no/such-model"))


def test_refuses(news, marian):
    with pytest.raises(NewsMatchError, match="No Marian checkpoint in 'no/such-model'"):
        load_corpus(arguments(news, "no/such-model"))
    with pytest.raises(NewsMatchError, match="max_sentences is 0"):
        load_corpus(arguments(news, marian, max_sentences=0))


@pytest.mark.parametrize(
    ("kind", "languages", "expected"),
    [
        ("clip", None, True),
        ("siglip2", None, False),
        ("altclip", None, True),
        ("altclip", ["en", "de"], False),
        ("vision-text-dual-encoder", ["*"], False),
        ("vision-text-dual-encoder", ["en"], True),
    ],
)
def test_only_what_the_model_cannot_read_is_translated(marian, kind, languages, expected):
    data_args = DataArguments(articles_file="a.tsv", translate="auto", translation_model=str(marian))
    decided = decide_translation(data_args, ARCHITECTURES[kind], languages)
    assert decided == dataclasses.replace(data_args, translate=expected)
    assert decide_translation(decided, ARCHITECTURES["clip"], ["*"]) is decided


def test_languages_that_nobody_knows_are_asked_for():
    with pytest.raises(NewsMatchError, match=r"cannot tell the languages that a vision-text .* reads; name them"):
        decide_translation(DataArguments(translate="auto"), ARCHITECTURES["vision-text-dual-encoder"])


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="--translate is true, false or auto, not maybe"):
        DataArguments(translate="maybe")
