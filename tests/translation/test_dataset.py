from datetime import UTC, datetime

import pytest
from datasets import Dataset, Features, Image, Value

from hf_newsmatch import NewsMatchError, translate_dataset
from hf_newsmatch.data.images import undecoded
from tests.utils.parallel import all_sentences

PAIRS = all_sentences()[::9]


def make_dataset(languages=None, **columns) -> Dataset:
    count = len(PAIRS)
    return Dataset.from_dict(
        {
            "article_id": [f"a{i}" for i in range(count)],
            "title": [source.rstrip(".") for source, _ in PAIRS],
            "text": [f"{source} {PAIRS[0][0]}" for source, _ in PAIRS],
            "language": languages or ["de"] * count,
            "date_number": list(range(count)),
            **columns,
        },
        features=Features(
            {
                **{name: Value("string") for name in ("article_id", "title", "text", "language", *columns)},
                "date_number": Value("int64"),
            }
        ),
    )


def test_columns_are_replaced_and_originals_kept(translator):
    dataset = make_dataset()
    translated = translate_dataset(dataset, translator=translator)
    assert translated.column_names == [*dataset.column_names, "title_source", "text_source", "language_source"]
    assert translated["text"][:] == [f"{target} {PAIRS[0][1]}" for _, target in PAIRS]
    for name in ("title", "text", "language"):
        assert translated[f"{name}_source"][:] == dataset[name][:]
    for name in ("article_id", "date_number"):
        assert translated[name][:] == dataset[name][:]
    assert set(translated["language"]) == {"en"}


def test_chosen_columns_and_sentences(translator):
    translated = translate_dataset(make_dataset(), ["text"], translator, max_sentences=1)
    assert translated["text"][:] == [target for _, target in PAIRS]
    assert translated["title"][:] == make_dataset()["title"][:]
    assert "title_source" not in translated.column_names


def test_rows_in_other_languages_pass_untouched(translator, caplog):
    languages = ["de-DE", "en", "fr", *["en-GB"] * (len(PAIRS) - 3)]
    dataset = make_dataset(languages)
    translated = translate_dataset(dataset, translator=translator)
    assert translated[0]["text"] == f"{PAIRS[0][1]} {PAIRS[0][1]}"
    assert translated["title"][1:] == dataset["title"][1:]
    assert translated["language"][:] == ["en", *languages[1:]]
    assert translated["language_source"][:] == languages
    assert "1 rows are in other languages and stay as they are: 1 fr" in caplog.text


def test_languages_are_detected_row_by_row(translator):
    texts = [
        "Der Bürgermeister wartet auf der Straße und niemand weiß, warum.",
        "The mayor is waiting on the street and nobody knows why.",
        "",
        "12:30",
    ]
    dataset = Dataset.from_dict({"title": [""] * 4, "text": texts})
    translated = translate_dataset(dataset, translator=translator)
    assert translated["language_source"][:] == ["de", "en", None, None]
    assert translated["language"][:] == ["en", "en", None, None]
    assert translated["text"][1:] == texts[1:]
    assert translated["text"][0] != texts[0]


def test_the_language_can_be_said(translator):
    dataset = make_dataset([None] * len(PAIRS))
    assert (
        translate_dataset(dataset, translator=translator, language="de")["text"][0] == PAIRS[0][1] + " " + PAIRS[0][1]
    )
    assert translate_dataset(dataset, translator=translator, language="en")["text"][:] == dataset["text"][:]


def test_a_row_of_which_nothing_is_translated_keeps_its_language(translator, monkeypatch):
    monkeypatch.setattr(translator.checkpoint, "decode", lambda ids: "")
    translated = translate_dataset(make_dataset(), translator=translator)
    assert translated["text"][:] == make_dataset()["text"][:]
    assert set(translated["language"]) == {"de"}


def test_translating_again_changes_nothing(translator):
    once = translate_dataset(make_dataset(), translator=translator)
    again = translate_dataset(once, translator=translator)
    assert again.column_names == once.column_names
    assert again[:] == once[:]


def test_titles_alone_and_empty_texts(translator):
    dataset = Dataset.from_dict({"title": ["Der Zug in Köln", "", None], "text": ["", None, ""]})
    translated = translate_dataset(dataset, translator=translator, language="de")
    assert translated["title"][:] == ["The train in Cologne", "", None]
    assert translated["text"][:] == ["", None, ""]


def test_pictures_and_order_are_left_alone(translator, tmp_path):
    """The pictures are not even opened: these do not exist."""
    files = [str(tmp_path / f"{i}.png") for i in range(len(PAIRS))]
    dataset = make_dataset(image=files).cast_column("image", Image())
    dataset = dataset.select(range(len(PAIRS) - 1, -1, -2))
    translated = translate_dataset(dataset, translator=translator)
    assert translated["article_id"][:] == dataset["article_id"][:]
    assert [image["path"] for image in undecoded(translated)["image"]] == files[::-2]
    assert translated.features["image"] == Image()


def test_later_steps_cache_by_content(translator, tmp_path):
    """The same data and settings give the same fingerprint, others another one."""
    make_dataset().to_parquet(tmp_path / "data.parquet")
    dataset = Dataset.from_parquet(str(tmp_path / "data.parquet"))
    prints = [
        translate_dataset(dataset, translator=translator, max_sentences=count)._fingerprint
        for count in (None, None, 1)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"columns": ["headline"]}, "no column 'headline'"),
        ({"columns": ["date_number"]}, "'date_number' holds no texts"),
        ({"language": "fr"}, "said to be in 'fr'"),
        ({"max_sentences": 0}, "max_sentences is 0"),
    ],
)
def test_refuses(translator, kwargs, message):
    with pytest.raises(NewsMatchError, match=message):
        translate_dataset(make_dataset(), translator=translator, **kwargs)


def test_dates_stay(translator):
    dates = [datetime(2022, 1, 1, tzinfo=UTC)] * len(PAIRS)
    dataset = make_dataset().add_column("published", dates)
    assert translate_dataset(dataset, translator=translator)["published"][:] == dates
