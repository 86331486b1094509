"""The tiny Marian inside the package, on German news of a seed that it was not built with."""

import pytest

from hf_newsmatch import Translator
from hf_newsmatch.demo.grammar import parallel_headlines


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    return Translator("demo", cache_file=tmp_path_factory.mktemp("cache") / "translations.sqlite")


def test_it_translates_the_portals_news(translator):
    german, english = zip(*parallel_headlines(11, 100))
    translations = translator.translate(german)
    assert sum(ours == theirs for ours, theirs in zip(translations, english)) >= 97
    assert not translator.report.kept
