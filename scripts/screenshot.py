"""Take a picture of a page, such as a report, in the Chromium that is on the machine (needs the extra [dev]).

python scripts/screenshot.py outputs/demo/report/index.html report.png
python scripts/screenshot.py outputs/demo/report/index.html cases.png --selector '#cases' --width 390
"""

import logging
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import set_up_logging
from hf_newsmatch.errors import NewsMatchError, exits_cleanly, first_sentence
from hf_newsmatch.utils.files import atomic_path

logger = logging.getLogger("hf_newsmatch.screenshot")

# whether every picture in the window is there; a page that keeps a connection open is never idle
LOADED = """() => [...document.images].every((image) => {
    const { top, bottom } = image.getBoundingClientRect();
    return bottom < 0 || top > innerHeight || image.complete;
})"""


@dataclass
class ScreenshotArguments:
    """What this script takes."""

    page: str = field(metadata={"help": "A file or an address; its flag may be left out."})
    picture: str = field(metadata={"help": "The PNG to write; its flag may be left out."})
    selector: str | None = field(default=None, metadata={"help": "What to scroll to, as CSS selects it."})
    width: int = field(default=1200, metadata={"help": "Of the window, in pixels."})
    height: int = field(default=900, metadata={"help": "Of the window, in pixels."})
    timeout: float = field(default=30, metadata={"help": "Seconds to wait for the page and what is selected."})
    dark: bool = field(default=False, metadata={"help": "With the page's dark colours."})


@exits_cleanly
def main() -> None:
    argv = sys.argv[1:]
    if len(argv) > 1 and not any(value.startswith("-") for value in argv[:2]):
        argv = ["--page", argv[0], "--picture", argv[1], *argv[2:]]
    (args,) = parse_arguments(ScreenshotArguments, description=__doc__, argv=argv)
    set_up_logging()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise NewsMatchError("There is no Chromium on this machine; apt-get install chromium.")
    address = args.page
    if "://" not in address:
        if not Path(address).is_file():
            raise NewsMatchError(f"There is no page {address}; `hf-newsmatch report` writes one.")
        address = Path(address).absolute().as_uri()
    take(chromium, address, args)
    logger.info("The picture is %s.", args.picture)


def take(chromium: str, address: str, args: ScreenshotArguments) -> None:
    """Open the page, wait until its pictures are there, and write what the window shows."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": args.width, "height": args.height}, color_scheme="dark" if args.dark else "light"
        )
        page.set_default_timeout(args.timeout * 1000)
        try:
            page.goto(address)
            if args.selector:
                # what comes into view is loaded only then, which may move it
                for _ in range(2):
                    page.locator(args.selector).first.evaluate("element => element.scrollIntoView()")
                    page.wait_for_timeout(500)
            page.wait_for_function(LOADED)
            with atomic_path(args.picture) as temporary:
                page.screenshot(path=temporary, type="png")
        except Error as error:
            raise NewsMatchError(f"{args.page} cannot be shown: {first_sentence(error)}.") from error
        finally:
            browser.close()


if __name__ == "__main__":
    main()
