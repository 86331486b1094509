from datasets import Dataset

from hf_newsmatch.data.text import article_texts, join_text


def test_article_texts_are_the_joined_fields_in_order():
    rows = [
        {"title": "Bridge opens", "text": "After years.", "url": "https://example.org/1", "more": 1},
        {"title": "Rain", "text": "", "url": None, "more": 2},
        {"title": None, "text": "Later.", "url": "https://example.org/3", "more": 3},
    ]
    articles = Dataset.from_list(rows)
    assert article_texts(articles) == ["Bridge opens. After years.", "Rain", "Later."]
    for fields in (["text"], ["text", "title"], ["title", "title"], ("url", "text")):
        assert article_texts(articles, fields) == [join_text(row, fields) for row in rows]
    assert article_texts(articles, ["text", "title"])[0] == "After years.. Bridge opens"
    assert article_texts(articles.select([])) == []
