import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.translation.cache import Generated, TranslationCache


def test_what_was_put_is_there_for_the_same_settings_only(tmp_path):
    file = tmp_path / "folder" / "cache.sqlite"
    one = TranslationCache({"model": "a", "generation": {"num_beams": 4}}, file)
    one.put({"Der Zug": Generated("The train", None), "🙂 ": Generated("", "empty")})
    same = TranslationCache({"generation": {"num_beams": 4}, "model": "a"}, file)
    assert same.get(["Der Zug", "Das Haus", "🙂 "]) == {"Der Zug": ("The train", None), "🙂 ": ("", "empty")}
    assert same.identity == one.identity
    for settings in ({"model": "b", "generation": {"num_beams": 4}}, {"model": "a", "generation": {"num_beams": 1}}):
        other = TranslationCache(settings, file)
        assert other.get(["Der Zug"]) == {}
        assert other.identity != one.identity


def test_many_keys(tmp_path):
    cache = TranslationCache({}, tmp_path / "cache.sqlite")
    sentences = {f"Satz {number}": Generated(f"Sentence {number}", None) for number in range(3000)}
    cache.put(sentences)
    assert cache.get([*sentences, "Satz 3000"]) == sentences


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "cache.sqlite").write_text("no database, but long enough to be read as one" * 50)
    with pytest.raises(NewsMatchError, match=r"cache\.sqlite cannot be used .*--cache_file"):
        TranslationCache({}, tmp_path / "cache.sqlite").get(["x"])
