"""Clean news text: no HTML, no mojibake, no invisible characters, single spaces."""

import html
import re
from html.entities import html5

import ftfy

# Typographic quotes and ligatures are how newspapers write; unescaping is done here, for entities of one kind only.
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, explain=False
)

_INLINE_TAG = re.compile(
    r"a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|meter|nobr|o:p|"
    r"output|q|ruby|rb|rp|rt|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
_BLOCK_TAG = re.compile(
    r"address|article|aside|audio|base|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|"
    r"dialog|dir|div|dl|dt|embed|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|"
    r"hgroup|hr|html|iframe|input|legend|li|link|main|map|menu|meta|nav|noframes|noscript|object|ol|optgroup|"
    r"option|p|param|picture|pre|progress|script|section|select|source|style|summary|svg|table|tbody|td|"
    r"template|textarea|tfoot|th|thead|title|tr|track|ul|video"
)
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# What holds no text begins so, and ends with the first of its ends behind it.
_NO_TEXT = re.compile(r"(?P<comment><!--)|<!\[CDATA\[|\]\]>|(?P<doctype><!doctype)|<(?P<element>script|style)\b", re.I)
_ENDS = {
    "comment": re.compile("-->"),
    "doctype": re.compile(">"),
    "script": re.compile(r"</script\s*+>", re.I),
    "style": re.compile(r"</style\s*+>", re.I),
}
# Quoted attributes may hold a ">", of some length: without a bound, quotes that do not belong
# together take time with the square of the text. The last alternative is a tag that a list's limit on length has cut.
_TAG = re.compile(
    r"</?([a-z][a-z0-9]*+(?:[:-][a-z0-9]+)*+)"
    r"""(?:(?=[\s/>])((?:[^<>"']++|"[^"]{0,500}+"|'[^']{0,500}+'){0,50}+|[^<>]*)>|\s+[a-z-]+=[^<>]*\Z)""",
    re.I,
)
# Zero width joiners are spelling in Persian and Indic scripts and inside emoji; beside Latin text they are debris.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
    "|[\u200c\u200d](?![\u0600-\U0010ffff])|(?<![\u0600-\U0010ffff])[\u200c\u200d]"
    "|[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
)
# ftfy and the removal of invisible characters change nothing here.
_PLAIN = re.compile(r"[\t\n\r -~]*+")
# The steps read this many characters of a text in all; ten rounds are more than any escaping needs.
_MOST_CHARACTERS = 1_000_000
# Neither markup nor mojibake can be made of these: every broken sequence needs a character outside them.
_NOTHING_TO_DO = re.compile(r"(?:[!-%'-;=-~ÄÖÜäöüß]++ )*+[!-%'-;=-~ÄÖÜäöüß]++|")


def clean_text(text: str) -> str:
    """Remove HTML, repair mojibake and fold white space; text that is clean stays as it is.

    Tags and entities of any depth of escaping go, the content of `script` and `style` with them. Block tags become a
    space, inline tags nothing. What only looks like markup stays: `a < b`, `<3`, `AT&T`, `?a=1&copy=2`, `<someone>`.
    """
    # Each step can uncover work for another (an escaped tag, mojibake in entities), so they go on until none is left.
    for _ in range(min(100, max(10, _MOST_CHARACTERS // (len(text) + 1)))):
        if _NOTHING_TO_DO.fullmatch(text):
            break
        before = text
        text = _ENTITY.sub(_unescape, text)
        text = _TAG.sub(_replace_tag, _without_no_text(text))
        if not _PLAIN.fullmatch(text):
            text = _INVISIBLE.sub("", ftfy.fix_text(text, _FTFY))
        text = " ".join(text.split())
        if text == before:
            break
    return text


def clean_batch(titles: list[str], texts: list[str]) -> dict[str, list[str]]:
    """Clean the titles and texts of a batch, for [`~datasets.Dataset.map`]."""
    return {"title": list(map(clean_text, titles)), "text": list(map(clean_text, texts))}


def _without_no_text(text: str) -> str:
    """A text with a space in place of comments, scripts, styles and the signs around CDATA.

    As one regular expression would do it, but in one pass: what has no end is looked for once.
    """
    pieces, at, endless = [], 0, set()
    for match in _NO_TEXT.finditer(text):
        if match.start() < at:  # inside of what is left out
            continue
        kind = (match["element"] or match.lastgroup or "").lower()
        end = match.end()
        if kind in endless:
            continue
        if kind:
            # an element's end is looked for behind the tag that opens it
            opened = text.find(">", end) if match["element"] else end
            found = _ENDS[kind].search(text, opened) if opened >= 0 else None
            if found is None:
                endless.add(kind)
                continue
            end = found.end()
        pieces += [text[at : match.start()], " "]
        at = end
    return "".join(pieces) + text[at:]


def _unescape(match: re.Match) -> str:
    # html.unescape also takes entities without a semicolon, and would turn the "&copy=2" of a url into a sign
    known = match[1].startswith("#") or f"{match[1]};" in html5
    return html.unescape(match[0]) if known else match[0]


def _replace_tag(match: re.Match) -> str:
    name, attributes = match[1].lower(), match[2] or ""
    if "=" not in attributes and len(attributes.strip("/").split()) > 1:  # prose: a<b and c>d
        return match[0]
    if _INLINE_TAG.fullmatch(name):
        return ""
    # a colon or hyphen makes it an element of some system's own (fb:like); other unknown names are prose in brackets
    return " " if _BLOCK_TAG.fullmatch(name) or not name.isalnum() else match[0]
