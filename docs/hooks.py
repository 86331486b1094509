"""The site's pages that are files at the top of the repository: README, CONTRIBUTING, CHANGELOG and SECURITY."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)((?:#[^)\s]*)?)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, with those of the top among them."""
    root = Path(config.config_file_path).parent
    for name, page in PAGES.items():
        text = (root / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_LINK.sub(_move_link, text)))
    return files


def _move_link(link: re.Match[str]) -> str:
    """A link as it goes from a page of the site; one to a file that the site does not have becomes its text."""
    mark, text, target, anchor = link.groups()
    if "://" in target:
        return link.group()
    if target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif target in PAGES:
        target = PAGES[target]
    else:
        return text
    return f"{mark}[{text}]({target}{anchor})"
