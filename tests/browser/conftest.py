"""A real Chromium that is on the machine already, and what a page did in it: its messages and its requests."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
REQUIRED = os.environ.get("NEWSMATCH_REQUIRE_BROWSER") == "1"  # in CI, where a test left out is a failure
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    missing = None
    if CHROMIUM is None:
        missing = "no Chromium on this machine (apt-get install chromium)"
    elif "axe" in getattr(item, "fixturenames", ()) and not AXE.is_file():
        missing = "axe-core is missing (npm install --prefix tests/browser --no-package-lock)"
    if missing:
        (pytest.fail if REQUIRED else pytest.skip)(f"left out: {missing}")


@dataclass
class Visit:
    """A page, and what it did.

    Args:
        page (`playwright.sync_api.Page`):
            The page.
        errors (`list[str]`):
            Its errors: on the console, uncaught, or of a request that failed.
        foreign (`list[str]`):
            Requests that would leave this machine; they are cut off.
        dialogs (`list[str]`):
            What `alert` and the like said.
    """

    page: object
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def assert_quiet(self) -> None:
        """No error, no request that leaves the machine, no dialog."""
        assert (self.errors, self.foreign, self.dialogs) == ([], [], [])

    def overflow(self) -> list[str]:
        """What reaches beyond the window's right edge and cannot be scrolled to within its own box."""
        return self.page.evaluate(
            """() => {
                const width = document.documentElement.clientWidth;
                const held = (element) => {
                    for (let box = element.parentElement; box; box = box.parentElement)
                        if (["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX)
                            && box.getBoundingClientRect().right <= width + 1) return true;
                    return false;
                };
                return [...document.body.querySelectorAll("*")]
                    .filter((element) => element.getBoundingClientRect().right > width + 1 && !held(element))
                    .map((element) => `${element.tagName}.${element.className}#${element.id}`);
            }"""
        )


@pytest.fixture(scope="package")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., Visit]]:
    """Open an address in a window of its own."""
    contexts = []

    def visit(address: str, size: tuple[int, int] = DESKTOP, **options) -> Visit:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        made = Visit(page)

        def check(route):
            parts = urlsplit(route.request.url)
            if parts.scheme in ("file", "data", "blob") or parts.hostname in ("127.0.0.1", "localhost"):
                route.continue_()
            else:
                made.foreign.append(route.request.url)
                route.abort()

        page.route("**/*", check)
        page.on("console", lambda message: made.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on("requestfailed", lambda request: made.errors.append(f"{request.url}: {request.failure}"))

        def dismiss(dialog):
            made.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.goto(address)
        return made

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def axe() -> Callable[[Visit], list[str]]:
    """axe-core's violations of a page, each with where it was found."""

    def axe(visit: Visit) -> list[str]:
        visit.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = visit.page.evaluate("() => axe.run(document)")
        assert found["passes"]
        return [f"{rule['id']}: {node['target']}" for rule in found["violations"] for node in rule["nodes"]]

    return axe
