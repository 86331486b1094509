"""What values become in a card, read by a parser of Markdown that knows nothing of how they were escaped."""

import ast
import re

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import example, given, settings
from markdown_it import MarkdownIt

from hf_newsmatch.hub.templates import code, escape_markdown, one_line, render
from hf_newsmatch.models.architectures import CLIP

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "a | b | c",
    "**bold** _under_ __init__ ~~gone~~ `code`",
    "# heading\n\n## more\n---\nname: x",
    "- item",
    "1. item",
    "&lt;b&gt; &amp;",
    "http://evil.example www.evil.example a@evil.example",
    "back\\slash \\[",
    "$$x$$ {{ 7 * 7 }} {% raw %}",
    "```\nfence\n```",
    "adamw_torch 1e-05 recall@1",
]
MARKS = st.text(alphabet=st.sampled_from(list("ab1 _*`[]()<>!#|~&;:/\\.@$-+=\n\t\"'{}%")), max_size=40)
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def parsed(markdown: str) -> tuple[str, set[str]]:
    """The text that a reader sees, and the kinds of tokens that it is made of."""
    text, kinds = "", set()
    for token in PARSER.parse(markdown):
        for child in token.children or [token]:
            kinds.add(child.type)
            text += child.content if child.type in ("text", "text_special", "code_inline") else ""
    return text, kinds


def check(value: str) -> None:
    value = value.strip()
    text, kinds = parsed(f"Data: {escape_markdown(value)}.")
    assert text == f"Data: {one_line(value)}."
    assert kinds <= {"paragraph_open", "text", "text_special", "paragraph_close"}
    # at the beginning of a line, and in a table
    if one_line(value):
        text, kinds = parsed(escape_markdown(value))
        assert text == one_line(value)
        assert kinds <= {"paragraph_open", "text", "text_special", "paragraph_close"}
        text, kinds = parsed(f"| a | b |\n| - | - |\n| {escape_markdown(value)} | {code(value)} |")
        assert text == "ab" + one_line(value) + one_line(value).replace("|", "¦")
        assert not kinds & {"html_inline", "link_open", "image", "em_open", "strong_open", "s_open"}


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_read_as_they_are_written(value):
    check(value)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(MARKS)
@example("+ a")
@example("===")
def test_any_value_is_read_as_it_is_written(value):
    check(value)


@pytest.mark.parametrize("value", HOSTILE)
def test_code_of_the_card_stays_code(value):
    model = {"architecture": CLIP, "pipeline_tag": CLIP.pipeline_tag, "model_type": "clip", "tokens": 77}
    card = render("plain", name="x", repo_id=value, revision=value, license=value, **model)
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        tree = ast.parse(block)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "from_pretrained" in ast.dump(node)]
        found = {(call.args[0].value, call.keywords[0].value.value) for call in calls if call.args}
        assert found == {(value, value)}
    (header,) = yaml.safe_load_all(card.split("\n---\n")[0])
    assert header["license"] == value
    assert set(header) == {"license", "library_name", "pipeline_tag", "tags"}


def test_plain_values_stay_as_they_are():
    for value in (
        "adamw_torch",
        "1e-05",
        "demo newsroom, feed, seed 7",
        "recall@1",
        0.0003,
        12,
        "2022-01-01",
        "",
        " ",
    ):
        assert escape_markdown(value) == str(value)
    assert code("articles.tsv") == "`articles.tsv`"


@pytest.mark.parametrize("value", ["", "\n", "\x00", "\ud800"])
def test_code_of_nothing_opens_no_fence(value):
    assert code(value) == "(empty)"
