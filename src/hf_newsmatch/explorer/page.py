"""The page for the browser: pictures ranked for a text by three models side by side, drawn by Gradio."""

import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware  # which Gradio is made of

from ..configs import AppArguments
from ..errors import NewsMatchError
from .explorer import MOST_CHARACTERS, Explorer, Hit, open_explorer
from .limits import BoundedRequests

AT_A_TIME, WAITING = 4, 100  # visitors that are answered, and that may wait
ASK = "Type a headline, or choose an article."
# each picture whole, its caption below it, and all of them at once
STYLE = """
.ranked .grid-wrap { max-height: none; overflow: visible; }
.ranked .grid-container { align-items: start; grid-template-columns: repeat(3, minmax(0, 1fr)); }
.ranked .thumbnail-item { aspect-ratio: auto; height: auto; }
.ranked .thumbnail-item img { aspect-ratio: 1; height: auto; object-fit: contain; }
.ranked .caption-label { position: static; max-width: none; border: 0; border-radius: 0; text-align: left;
    white-space: normal; overflow-wrap: anywhere; }
.ranked .thumbnail-item:has(img[alt^="✓"]) { outline: 3px solid #16a34a; outline-offset: -1px; }
"""
# Gradio calls a slider released when a pointer leaves it; the keyboard, and the number beside it, release it too
RELEASE = """<script>
document.addEventListener("change", ({ target }) => {
    if (target.closest("#alpha")) target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});
</script>"""


def launch(args: AppArguments) -> None:
    """Serve the page of the models and the collection that the arguments name, until it is stopped.

    Raises:
        [`NewsMatchError`]: as [`open_explorer`].
    """
    explorer = open_explorer(args)
    explorer.prepare()
    page = build(explorer, args)
    serve(page, prevent_thread_lock=True)
    # Gradio itself would take Ctrl-C for an ordinary end
    try:
        threading.Event().wait()
    finally:
        page.close()


def serve(page: gr.Blocks, **options: Any) -> Any:
    """Serve a page; `options` go to [`~gradio.Blocks.launch`], whose value is returned.

    No file is taken, and a request has the size that a headline may have. Several visitors are answered at a time, so
    that nobody waits for a model that is made for another.
    """
    page.queue(default_concurrency_limit=AT_A_TIME, max_size=WAITING)
    return page.launch(
        share=False,
        ssr_mode=False,
        css=STYLE,
        head=RELEASE,
        footer_links=["gradio"],
        max_file_size=1,
        app_kwargs={"middleware": [Middleware(BoundedRequests)]},
        **options,
    )


def build(explorer: Explorer, args: AppArguments) -> gr.Blocks:
    """The page."""
    models, size = explorer.models, len(explorer.image_ids)

    def column(name: str, alpha: float, text: str) -> tuple[str, list[tuple[str, str]]]:
        """What stands above the pictures of one model, and the pictures with their captions."""
        heading = f"### {name}"
        if not text:
            return heading, []
        hits = explorer.rank(text, alpha, args.k)
        verdict = next((f"true picture at rank **{hit.rank:,}** of {size:,}" for hit in hits if hit.true), "")
        return f"{heading}\n{verdict}", [(str(explorer.thumbnail(hit.image_id)), caption(hit)) for hit in hits]

    def wise_ft(alpha: float, text: str) -> tuple:
        return column(f"WiSE-FT, alpha {alpha:g}", alpha, text)

    def rank(text: str | None, alpha: float) -> tuple:
        text = (text or "").strip()
        article = gr.skip() if explorer.is_article(text) else None  # what was edited is no longer the article's
        zero_shot, fine_tuned = column("Zero-shot", 0.0, text), column("Fine-tuned", 1.0, text)
        message = f"Only the first {MOST_CHARACTERS:,} characters are read." if len(text) > MOST_CHARACTERS else ""
        return article, message if text else ASK, *zero_shot, *wise_ft(alpha, text), *fine_tuned

    def move(alpha: float, before: float, text: str | None) -> tuple:
        alpha = models.snap(alpha, before)
        return alpha, alpha, *wise_ft(alpha, (text or "").strip())

    def fill(article: int | None) -> Any:
        return gr.skip() if article is None else explorer.texts[article]

    with gr.Blocks(title="hf-newsmatch", analytics_enabled=False, delete_cache=(86400, 86400)) as page:
        gr.Markdown(
            "# Which picture goes with this headline?\n"
            f"{size:,} pictures, ranked by one CLIP before fine-tuning on news, after it, and in between"
            " ([WiSE-FT](https://arxiv.org/abs/2109.01903))."
        )
        with gr.Row():
            articles = gr.Dropdown(
                [(title, place) for place, title in enumerate(explorer.titles)],
                value=0 if explorer.titles else None,
                label="Article",
                info="Its true picture is marked, where it is known.",
                visible=bool(explorer.titles),
                min_width=300,
            )
            text = gr.Textbox(
                explorer.texts[0] if explorer.texts else "",
                label="Headline",
                info="What CLIP reads.",
                placeholder=ASK,
                max_lines=4,
                scale=2,
                min_width=300,
            )
        slider = gr.Slider(
            0,
            1,
            models.start,
            step=models.step,
            label="alpha",
            info="From zero-shot (0) to fine-tuned (1). A model in between is made when it is asked for first.",
            elem_id="alpha",
            buttons=[],
        )
        alpha = gr.State(models.start)
        message = gr.Markdown()
        columns = []
        with gr.Row():
            for name in ("zero_shot", "wise_ft", "fine_tuned"):
                with gr.Column(min_width=300):
                    heading = gr.Markdown(elem_id=f"{name}_heading")
                    gallery = gr.Gallery(
                        columns=3, show_label=False, interactive=False, buttons=[], elem_id=name, elem_classes="ranked"
                    )
                    columns += [heading, gallery]
        ranking = {"fn": with_messages(rank), "inputs": [text, alpha], "outputs": [articles, message, *columns]}
        page.load(**ranking)
        # its input event leaves out what is pasted
        text.change(**ranking, show_progress="hidden", trigger_mode="always_last")
        articles.input(fill, articles, text, show_progress="hidden")
        slider.release(
            with_messages(move), [slider, alpha, text], [slider, alpha, *columns[2:4]], trigger_mode="always_last"
        )
    return page


def caption(hit: Hit) -> str:
    """Rank, score and name of a picture. Gradio takes it as plain text."""
    return f"{'✓ ' if hit.true else ''}{hit.rank}. {hit.score:.3f} {hit.image_id}"


def with_messages(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with errors that the user can mend shown as messages on the page."""

    def wrapper(*inputs):
        try:
            return function(*inputs)
        except (NewsMatchError, OSError) as error:
            raise gr.Error(str(error)) from error

    return wrapper
