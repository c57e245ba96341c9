"""Figures for the website, in the kernel that draws them: sharp, and with words for those who do not see them."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

SHARPNESS = 1.5  # pixels drawn for each that is shown, for fine screens
WORDS = 60  # of a text alternative, at most; screen readers cannot skip in it
SOURCE = f"from {__name__} import show_with_words; show_with_words()"  # the first cell of a run for the website


def show_with_words() -> None:
    """From now on, the figures of this kernel carry their text alternative in their metadata."""
    from IPython import get_ipython
    from IPython.core.pylabtools import print_figure

    def png(figure):
        words = describe(figure)  # before it is drawn: drawing adds ticks
        return print_figure(figure, dpi=SHARPNESS * figure.dpi, base64=True), {"alt": words}

    get_ipython().run_line_magic("matplotlib", "inline")  # which registers its own way first
    get_ipython().display_formatter.formatters["image/png"].for_type(Figure, png)


def describe(figure: Figure) -> str:
    """What a figure shows, from its titles, axes and legends; at most WORDS words."""
    panels = [words for ax in figure.axes if ax.get_visible() and (words := _panel(ax))]
    title = _plain(figure.get_suptitle())
    alike = list(dict.fromkeys(panels))
    counted = [f"{words} ({panels.count(words)} times)" if panels.count(words) > 1 else words for words in alike]
    start = "Figure" + (f" with {len(panels)} panels" if len(panels) > 1 else "") + (f", {title}" if title else "")
    words = f"{start}: {'; '.join(counted)}".split()
    return " ".join(words[:WORDS]) + (" …" if len(words) > WORDS else "")


def _panel(ax):
    title = _plain(" ".join(filter(None, (ax.get_title(loc=where) for where in ("left", "center", "right")))))
    axes = [_plain(label) for label in (ax.get_ylabel(), ax.get_xlabel())]
    parts = [_kind(ax), f"of {axes[0]} against {axes[1]}" if all(axes) else f"against {axes[1]}" if axes[1] else
             f"of {axes[0]}" if axes[0] else ""]
    drawn = " ".join(filter(None, parts))
    named = [_plain(t.get_text()) for t in ax.get_legend().get_texts()] if ax.get_legend() else []
    drawn += f", with {', '.join(named)}" if named else ""
    return f"{title} ({drawn})" if title else drawn


def _kind(ax):
    """In a word or two, what is drawn in a panel."""
    texts = [_plain(t.get_text()) for t in ax.texts if t.get_text().strip()]
    if ax.images and texts and all(re.fullmatch(r"[−-]?[\d.]+(e[−-]?\d+)?", t) for t in texts):
        return "grid of the numbers " + " ".join(texts[:9]) + (" …" if len(texts) > 9 else "")
    if ax.images:
        return "picture" if len(ax.images) == 1 else f"{len(ax.images)} pictures"
    if ax.containers and not ax.lines:
        return "bars"
    if any(len(line.get_xdata()) > 2 for line in ax.lines):
        return "curves" if len(ax.lines) > 1 else "curve"
    if ax.collections and not texts:
        return "points"
    return "drawing with the words " + ", ".join(texts[:12]) if texts else "drawing"


def _plain(text):
    """Text without TeX's dollars and line breaks."""
    return re.sub(r"[$\\{}]", "", " ".join((text or "").split()))
