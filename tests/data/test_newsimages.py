import dataclasses
import io
import json
import logging
import time
from datetime import UTC, datetime

import datasets
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value

from hf_newsmatch.configs import DataArguments, join_files, split_files
from hf_newsmatch.data.newsimages import load_articles, load_gold, load_images, load_pairs
from hf_newsmatch.data.sources import bad_rows
from hf_newsmatch.errors import NewsMatchError
from tests.utils.lists import LINKED, ORGANISERS

PAIR_FEATURES = Features(
    {
        "article_id": Value("string"),
        "title": Value("string"),
        "text": Value("string"),
        "language": Value("string"),
        "url": Value("string"),
        "published": Value("timestamp[us, tz=UTC]"),
        "image_id": Value("string"),
        "image": Image(),
        "image_file": Value("string"),
        "date_number": Value("int64"),
    }
)


def save_picture(path, color=(255, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (4, 3), color).save(path)


def read(dataset, *columns):
    return [tuple(row[column] for column in columns) for row in dataset.select_columns(list(columns))]


def test_pairs_of_an_organisers_list(write, tmp_path):
    save_picture(tmp_path / "images" / "hA.jpg")
    pairs = load_pairs(write(LINKED))
    assert pairs.features == PAIR_FEATURES
    assert read(pairs, "article_id", "image_id", "image_file") == [
        ("901", "31", "hA.jpg"),
        ("905", "30", "hB.jpg"),
        ("903", None, None),
    ]
    assert read(pairs, "title", "text") == [
        ("Zwei Löwen im Zoo", "Sie heißen Max und Moritz."),
        ('Der "Dom" bröckelt', ""),
        ("Ohne Bild", "Köln"),
    ]
    assert pairs["published"][:] == [
        datetime(2019, 4, day, hour, tzinfo=UTC) for day, hour in ((2, 0), (1, 0), (2, 10))
    ]
    assert pairs[0]["image"].size == (4, 3)
    assert pairs["image"][:][1:] == [None, None]
    assert set(pairs["language"]) == set(pairs["date_number"]) == {None}


def test_pictures_need_not_be_looked_up(write, tmp_path, caplog):
    path = write("article_id\ttitle\timage_id\timage_file\n1\tTitle\tA\tA.jpg\n")
    pairs = load_pairs(path, find_pictures=False)
    assert read(pairs, "article_id", "image_id", "image_file") == [("1", "A", "A.jpg")]
    assert "image" not in pairs.column_names
    assert not caplog.records


def test_translations_and_originals_of_our_own_columns(write):
    header = "article_id\ttitle\ttext\tlanguage"
    tsv = write(f"{header}\ttitleEN\ttextEN\na\tTitel\tText\tde\tTitle\tEnglish\nb\tTitre\tTexte\tfr\t\t\n")
    assert read(load_articles(tsv), "title", "text", "language") == [
        ("Title", "English", "en"),
        ("Titre", "Texte", "fr"),
    ]
    assert read(load_articles(tsv, translated=False), "title", "language") == [("Titel", "de"), ("Titre", "fr")]
    sources = "title_source\ttext_source\tlanguage_source"
    parquet = write(f"{header}\t{sources}\na\tTitle\tEnglish\ten\tTitel\tText\tde\n", "other.tsv")
    assert read(load_articles(parquet), "title", "text", "language") == [("Title", "English", "en")]
    assert read(load_articles(parquet, translated=False), "title", "text", "language") == [("Titel", "Text", "de")]


def test_an_organisers_list_with_english_columns(write):
    path = write(
        "# article\taid\turl\thashvalue\ttitle\ttext\ttitleEN\ttextEN\n1\t2\tu\t\tTitel\tText\tTitle\tEnglish\n"
    )
    assert read(load_articles(path), "article_id", "title", "text", "language") == [("1", "Title", "English", "en")]
    assert read(load_articles(path, translated=False), "title", "language") == [("Titel", None)]


def test_raw_values_stay_reachable(write):
    path = write(LINKED)
    raw, clean = load_pairs(path, clean=False), load_pairs(path)
    assert raw["text"][:] == ["Sie hei&szlig;en <b>Max</b> und  Moritz.", "", "KÃ¶ln"]
    assert raw["article_id"][:] == clean["article_id"][:]
    assert path.read_bytes() == LINKED.encode()


def test_articles_and_images_of_a_linked_list(write):
    path = write(LINKED.replace("\t30\thB", "\t31\thB").replace("hB.jpg", "hA.jpg"))
    articles = load_articles(path)
    assert articles.features == Features({name: PAIR_FEATURES[name] for name in articles.column_names})
    assert articles.column_names == ["article_id", "title", "text", "language", "url", "published", "date_number"]
    assert len(articles) == 3
    images = load_images(path)
    assert images.features == Features({name: PAIR_FEATURES[name] for name in ("image_id", "image", "image_file")})
    assert read(images, "image_id", "image_file") == [("31", "hA.jpg")]


def test_unlinked_lists_of_2021(write):
    header = "articleID\taid\turl\t\t\thashvalue\ttitle\ttext\r\n"
    articles = write(header + "77\t\thttps://example.org/a\t\t\t\tStraße frei\tGrüße\r\n", "a.tsv", encoding="cp1252")
    assert read(load_articles(articles), "article_id", "title", "text") == [("77", "Straße frei", "Grüße")]
    images = write("img\tiid\timgFile\r\nhttps://example.org/x.jpg\t31\thA.jpg\r\n", "i.tsv")
    assert read(load_images(images), "image_id", "image_file") == [("31", "hA.jpg")]
    with pytest.raises(
        NewsMatchError, match=r"no link between its articles and pictures; read it with load_articles\.$"
    ):
        load_pairs(articles)
    with pytest.raises(NewsMatchError, match="without articles; read it with load_images"):
        load_articles(images)
    with pytest.raises(NewsMatchError, match=r"names no picture; .*load_articles.*list or folder.*--test_images"):
        load_images(articles)


def test_unlinked_lists_of_2023(write):
    header = f"# {ORGANISERS}\tDate\n"
    articles = write(
        header + "20\t2023-9\thttps://example.org/a\t\t\t2023-9\tTitle â€“ x\ttag;tag\t\t4512776813\n", "a.txt"
    )
    assert read(load_articles(articles), "article_id", "title", "published", "date_number") == [
        ("20", "Title – x", None, 4512776813)
    ]
    images = write(header + "\t\t\t\tAB\t\t\t\tAB.jpg\t\n" * 2, "i.txt")
    assert read(load_images(images), "image_id", "image_file") == [("AB", "AB.jpg")]
    with pytest.raises(NewsMatchError, match="without articles"):
        load_pairs(images)


def test_four_columns_of_2023(write):
    path = write('url\ttitle\ttags\timage\nhttps://example.org/a\t"A, B"\tone;two|three\tAB.jpg\n')
    assert read(load_pairs(path), "article_id", "url", "title", "text", "image_id", "image_file") == [
        ("https://example.org/a", "https://example.org/a", "A, B", "one;two|three", "AB", "AB.jpg")
    ]


def test_a_list_with_its_own_translation(write):
    rows = 'u1\tTitel\tText\tTitle\t"The ""text"""\tx\nu2\tNur deutsch\tText\t\t\tx\n'
    path = write("url\ttitle\ttext\ttitleEN\ttextEN\toutlet\n" + rows)
    assert read(load_articles(path), "title", "text", "language") == [
        ("Title", 'The "text"', "en"),
        ("Nur deutsch", "Text", None),
    ]
    assert read(load_articles(path, translated=False), "title", "language") == [("Titel", None), ("Nur deutsch", None)]


@pytest.mark.parametrize("header", ["", "article_id,article_url,article_title,article_tags,image_id,image_url\n"])
@pytest.mark.parametrize("picture", ["AB.jpg", "7.webp"])
def test_2025(write, tmp_path, header, picture):
    save_picture(tmp_path / "images" / "sub" / picture)
    path = write(header + '7,https://example.org/a,"A, B",one;two,AB,"https://example.org/a.jpg?r=1,2"\n', "news.csv")
    row = load_pairs(path)[0]
    assert (row["article_id"], row["title"], row["text"], row["image_id"]) == ("7", "A, B", "one;two", "AB")
    assert row["image_file"] == f"sub/{picture}"
    assert row["image"].size == (4, 3)


def test_2026(write):
    header = "article_id,article_url,article_title,image_id\n"
    linked = write(header + "1,https://example.org/a,summer Ã¢â‚¬â€œ x,AB\n2,N/A,B,N/A\n", "train.csv")
    assert read(load_pairs(linked), "article_id", "url", "title", "text", "image_id") == [
        ("1", "https://example.org/a", "summer – x", "", "AB"),
        ("2", None, "B", "", None),
    ]
    unlinked = write(header + "1,N/A,A,N/A\n", "test.csv")
    assert load_articles(unlinked)[0]["url"] is None
    with pytest.raises(NewsMatchError, match="read it with load_articles"):
        load_pairs(unlinked)


OWN = {
    "article_id": "1",
    "title": "A &amp; B",
    "text": "x",
    "language": "de",
    "url": "https://example.org/1",
    "published": "2019-04-01",
    "image_id": "i1",
    "image_file": "i1.jpg",
}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_our_own_columns(write, suffix):
    if suffix == "parquet":
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([OWN | {"published": datetime(2019, 4, 1), "article_id": 1}]), content)
        path = write(content.getvalue(), "list.parquet")
    elif suffix == "jsonl":
        path = write(json.dumps(OWN) + "\n", "list.jsonl")
    else:
        path = write("\n".join({"csv": ",", "tsv": "\t"}[suffix].join(cells) for cells in (OWN, OWN.values())))
    pairs = load_pairs(path)
    assert pairs.features == PAIR_FEATURES
    expected = OWN | {
        "title": "A & B",
        "published": datetime(2019, 4, 1, tzinfo=UTC),
        "image": None,
        "date_number": None,
    }
    assert pairs[0] == expected
    assert read(load_images(path), "image_id") == [("i1",)]


def test_texts_alone_are_enough(write):
    path = write("article_id,text,image_id\n1,Ein Text,i1\n", "list.csv")
    assert read(load_pairs(path), "article_id", "title", "text", "image_id") == [("1", "", "Ein Text", "i1")]
    assert read(load_articles(path), "text") == [("Ein Text",)]


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["2020/1.jpg", "2021\\1.jpg", "5.jpg", "./5.jpg"], ["2020/1", "2021/1", "5", "5"]),
        (["1.jpg", "1.png", "sub/2.jpg"], ["1.jpg", "1.png", "2"]),
        (["1.jpg", "sub/1.jpg", "sub/1.png"], ["1", "sub/1.jpg", "sub/1.png"]),
        (["Lo\u0308we.jpg", "L\u00f6we.jpg"], ["L\u00f6we", "L\u00f6we"]),
    ],
)
def test_ids_of_files_are_as_long_as_they_must_be(write, tmp_path, files, ids):
    for i, file in enumerate(files):
        save_picture(tmp_path / "images" / file.replace("\\", "/"), (40 * ids.index(ids[i]), 0, 0))
    path = write("article_id,title,image_file\n" + "".join(f"{i},T,{file}\n" for i, file in enumerate(files)))
    pairs = load_pairs(path)
    assert pairs["image_id"][:] == ids
    assert pairs["image_file"][:] == files
    assert [picture.getpixel((0, 0))[0] // 40 for picture in pairs["image"]] == pytest.approx(
        [ids.index(image_id) for image_id in ids], abs=0.2
    )
    assert load_images(path)["image_id"][:] == list(dict.fromkeys(ids))


def test_an_image_id_stands_for_one_file(write, caplog):
    rows = "1,A,x,a.jpg\n2,B,x,./a.jpg\n3,C,x,\n4,D,x,b.jpg\n"
    path = write("article_id,title,image_id,image_file\n" + rows)
    for load in (load_pairs, load_images, load_gold):
        with pytest.raises(
            NewsMatchError, match=r"^Line 5 of .*list\.tsv gives b\.jpg the image id 'x' of a\.jpg; correct it"
        ):
            load(path)
    assert len(load_articles(path)) == 4
    assert load_pairs(path, skip_bad_rows=True)["article_id"][:] == ["1", "2", "3"]


def test_pictures_inside_may_have_any_name(tmp_path):
    inside = with_pictures_inside()
    inside.add_column("image_id", ["x"] * 3).to_parquet(tmp_path / "list.parquet")
    assert load_pairs(tmp_path / "list.parquet")["image_id"][:] == ["x"] * 3


def picture_bytes(color):
    content = io.BytesIO()
    PIL.Image.new("RGB", (4, 3), color).save(content, "PNG")
    return content.getvalue()


def with_pictures_inside(ids=("1", "2", "3")):
    pictures = [{"bytes": picture_bytes((40 * i, 0, 0)), "path": f"p{i}.png"} for i in range(len(ids))]
    features = Features({"article_id": Value("string"), "title": Value("string"), "image": Image()})
    return Dataset.from_dict({"article_id": ids, "title": ["T"] * len(ids), "image": pictures}, features=features)


@pytest.mark.parametrize("num_parquet_rows", [3, 4])
def test_pictures_inside_parquet_stay_with_their_rows(tmp_path, num_parquet_rows):
    path = tmp_path / "list.parquet"
    with_pictures_inside(("1", "1", "2", "3")[4 - num_parquet_rows :]).to_parquet(path)
    pairs = load_pairs(path, skip_bad_rows=True)
    assert pairs.features == PAIR_FEATURES
    assert pairs["article_id"][:] == ["1", "2", "3"]
    offset = num_parquet_rows - 3
    for i, row in enumerate(pairs):
        number = i + offset if i else 0
        assert row["image"].getpixel((0, 0)) == (40 * number, 0, 0)
        assert (row["image_id"], row["image_file"]) == (f"p{number}", f"p{number}.png")


def test_a_data_set_of_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((a, k)) or with_pictures_inside())
    pairs = load_pairs("someone/some-news")
    assert asked == [(("someone/some-news",), {"split": "train"})]
    assert [row["image"].getpixel((0, 0))[0] for row in pairs] == [0, 40, 80]


def test_image_folder_of_candidates(tmp_path, caplog):
    for name in ("b.jpg", "a.png", "sub/c.gif"):
        save_picture(tmp_path / "pool" / name)
    images = load_images(tmp_path / "pool")
    assert read(images, "image_id", "image_file") == [("a", "a.png"), ("b", "b.jpg"), ("c", "sub/c.gif")]
    assert images[2]["image"].size == (4, 3)
    save_picture(tmp_path / "pool" / "a.jpg")
    save_picture(tmp_path / "pool" / "sub" / "b.tif")
    (tmp_path / "pool" / "list.txt").write_text("a.jpg")
    caplog.clear()
    images = load_images(tmp_path / "pool")
    assert read(images, "image_id") == [("a.jpg",), ("a.png",), ("b",), ("sub/b",), ("c",)]
    assert "holds what is not used: 1 x no picture (list.txt)." in caplog.text


def test_image_folder_without_pictures(tmp_path):
    with pytest.raises(NewsMatchError, match="holds no picture"):
        load_images(tmp_path)


def test_image_dir_that_does_not_fit(write, tmp_path, caplog):
    path = write(LINKED)
    with pytest.raises(NewsMatchError, match="nowhere is not a folder of pictures"):
        load_pairs(path, tmp_path / "nowhere")
    save_picture(tmp_path / "images" / "other.jpg")
    with pytest.raises(
        NewsMatchError, match=r"none of the pictures of .*\(looked for hA.jpg, hB.jpg among the 1 pictures in it\)"
    ):
        load_pairs(path, tmp_path / "images")
    # nobody asked for the folder beside the file, so it only gets a warning
    assert load_pairs(path)["image"][:] == [None] * 3
    assert "none of the pictures" in caplog.text


def test_a_missing_folder_is_told_once(write, tmp_path, caplog):
    path = write(LINKED)
    assert load_pairs(path)["image"][:] == [None] * 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"Every image of {path} is null, since there is no folder {tmp_path / 'images'}; name" in caplog.text
    assert "image_dir (--image_dir)" in caplog.text
    caplog.clear()
    save_picture(tmp_path / "images" / "hA.jpg")
    load_pairs(path)
    load_pairs(path, tmp_path / "images")
    (tmp_path / "inside").mkdir()
    with_pictures_inside().to_parquet(tmp_path / "inside" / "list.parquet")
    load_pairs(tmp_path / "inside" / "list.parquet")
    assert not caplog.records


def test_candidates_of_one_column(write):
    path = write("image_id\nA\nB\nA\n", "candidates.tsv")
    assert read(load_images(path), "image_id", "image", "image_file") == [("A", None, None), ("B", None, None)]
    with pytest.raises(NewsMatchError, match="without articles; read it with load_images"):
        load_gold(path)
    # beside columns that nobody knows an image id says nothing
    with pytest.raises(NewsMatchError, match="has an unknown layout"):
        load_images(write("id,headline,image_id\n1,A,B\n"))


def test_names_that_leave_the_folder(write, tmp_path):
    save_picture(tmp_path / "secret.jpg")
    save_picture(tmp_path / "images" / "hB.jpg")
    row = load_pairs(write(LINKED.replace("hA.jpg", "../secret.jpg")))[0]
    assert row["image"] is None
    assert row["image_file"] == "../secret.jpg"


@pytest.mark.parametrize("header", ["article_id,image_id", "articleID\tiid"])
def test_gold_of_two_columns(write, header):
    delimiter = "," if "," in header else "\t"
    path = write(f"{header}\n7{delimiter}AB\n8{delimiter}AB\n9{delimiter}N/A\n")
    assert load_gold(path) == {"7": "AB", "8": "AB"}
    with pytest.raises(NewsMatchError, match="neither titles nor texts; read its links with load_gold"):
        load_pairs(path)


def test_gold_of_two_columns_without_a_header(write):
    url = "https://example.org/8"
    assert load_gold(write(f"{url}\tAB\n")) == {url: "AB"}
    path = write(f"7\tAB\n{url}\tAB\n9\tN/A\n")
    assert load_gold(path) == {"7": "AB", url: "AB"}
    for load in (load_pairs, load_articles, load_images):
        with pytest.raises(NewsMatchError, match="has an unknown layout"):
            load(path)


@pytest.mark.parametrize("line", ["doc\tpicture", "images2023\tx", "7,AB", "7\t", "7\tAB\tAC"])
def test_other_first_lines_are_no_gold(write, line):
    with pytest.raises(NewsMatchError, match="has an unknown layout"):
        load_gold(write(f"{line}\n8\tAB\n"))


def test_gold_of_a_linked_list(write):
    assert load_gold(write(LINKED)) == {"901": "31", "905": "30"}


def test_gold_with_other_article_numbers_is_matched_by_url(write, caplog):
    gold = write(LINKED, "gold.tsv")
    row = "77\t\thttps://example.org/{}\t\t\t\tTitel\tText\n"
    header = "articleID\taid\turl\t\t\thashvalue\ttitle\ttext\n"
    articles = load_articles(write(header + row.format("b"), "b.tsv"))
    assert load_gold(gold, articles) == {"77": "30", "901": "31"}
    assert "matched by url" in caplog.text
    with pytest.raises(NewsMatchError, match=r"neither article ids nor urls.*'901'.*'77'"):
        load_gold(gold, load_articles(write(header + row.format("z"), "z.tsv")))


def test_gold_with_the_same_article_numbers_is_left_alone(write):
    path = write(LINKED)
    assert load_gold(path, load_articles(path).select([0])) == {"901": "31", "905": "30"}


def test_cleaning_on_several_processes_gives_the_same(write):
    content = LINKED + "".join(f"{i}\t\t\t\t\t\t<b>T</b> {i}\tx\t\t2020-01-01\n" for i in range(10))
    path = write(content)
    parallel = load_articles(path, num_proc=2)["title"][:]
    datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE / "other"
    assert load_articles(path)["title"][:] == parallel


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_read_in_seconds(write):
    rows = (
        f"{i}\t\thttps://a.org/{i}\t\tp{i}\th\tTitel {i}\t{'Wörter ' * 30}\tp{i}.jpg\t2019-04-01T{i % 24:02}:00\n"
        for i in range(100_000)
    )
    path = write(f"{ORGANISERS}\tDate\n" + "".join(rows))
    start = time.perf_counter()
    assert len(load_pairs(path, clean=False)) == 100_000
    assert time.perf_counter() - start < 10  # it takes 2; the rest is for busy machines


def _edition(write, *numbers):
    files = []
    for name in numbers:
        rows = "".join(f"{name}{i},T {name}{i},p{name}{i},p{name}{i}.png\n" for i in range(3))
        files.append(str(write(f"article_id,title,image_id,image_file\n{rows}", f"{name}.csv")))
    return files


def test_the_files_of_an_edition_are_one_list(write):
    files = _edition(write, "a", "b", "c")
    name = join_files(files)
    pairs = load_pairs(name, find_pictures=False)
    apart = [load_pairs(file, find_pictures=False) for file in files]
    assert pairs["article_id"][:] == [article_id for part in apart for article_id in part["article_id"]]
    assert load_articles(name)["title"][:] == pairs["title"][:]
    assert load_gold(name) == dict(zip(pairs["article_id"], pairs["image_id"]))
    assert load_images(name)["image_id"][:] == pairs["image_id"][:]


def test_the_files_of_an_edition_share_no_article_and_no_id_of_two_pictures(write):
    first, second = _edition(write, "a", "b")
    again = write("article_id,title,image_id,image_file\na1,X,q,q.png\n", "again.csv")
    with pytest.raises(NewsMatchError, match=r"again\.csv has the article id 'a1' of .*a\.csv again"):
        load_pairs(join_files([first, second, again]), find_pictures=False)
    other = write("article_id,title,image_id,image_file\nz,X,pa1,q.png\n", "other.csv")
    with pytest.raises(
        NewsMatchError, match=r"other\.csv gives q\.png the image id 'pa1', which is pa1\.png in .*a\.csv"
    ):
        load_pairs(join_files([first, other]), find_pictures=False)


def test_bad_rows_of_several_files_name_theirs(write):
    (first,) = _edition(write, "a")
    bad = write("article_id,title,image_id\n,X,q\nz,Z,z\n", "bad.csv")
    assert bad_rows(join_files([first, bad])) == [f"line 2 has no article id ({bad})"]


def test_one_file_whose_name_looks_like_two(tmp_path):
    (tmp_path / "a + b.csv").write_text("article_id,title\n1,A\n")
    assert load_articles(tmp_path / "a + b.csv")["title"][:] == ["A"]


def test_arguments_take_one_name_or_several():
    assert DataArguments(articles_file=["a.tsv"]).articles_file == DataArguments(articles_file="a.tsv").articles_file
    args = DataArguments(articles_file=["a.tsv", "b.tsv"])
    assert args == dataclasses.replace(args)
    assert split_files(args.articles_file) == ["a.tsv", "b.tsv"]
