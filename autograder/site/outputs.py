"""The outputs of a cell as they stand on a page."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.site.figures import SHARPNESS, write_webp

WIDGET = "application/vnd.cnnlab.widget+json"  # {"module": "convolution", "state": {…}}
DATA_PNG = re.compile(r"data:image/png;base64,((?:[A-Za-z0-9+/=]|\\\n|\n)+)")


def on_page(cell: NotebookNode, name: str, figures: Path, static: str) -> list[NotebookNode]:
    """The outputs of `cell`, with figures as files in `figures` and widgets as elements.

    name: what the names of its files begin with.  static: the address of _static from the page; figures are below it.
    """
    address = f"{static}/figures/{figures.name}"
    return [_shown(output, f"{name}-{n}", figures, address, static) for n, output in enumerate(cell.get("outputs", []))]


def _shown(output, name, figures, address, static):
    data = output.get("data", {})
    if WIDGET in data:
        return _as_html(widget(data[WIDGET], _still(output, name, figures, address), static))
    if "text/html" in data:
        return _as_html(_with_files(data["text/html"], name, figures, address))
    if "image/png" in data:
        return _as_html(_still(output, name, figures, address))
    return output


def widget(asked: dict, still: str, static: str) -> str:
    """The element that docs/_static/live.js brings to life; until then, and without scripts, it shows `still`."""
    module, state = (html.escape(text) for text in (asked["module"], json.dumps(asked["state"])))
    return (f'<div class="cnnlab-widget" data-module="{module}" data-state="{state}">{still}</div>\n'
            f'<script type="module" src="{static}/live.js"></script>')  # a module runs once, however often it is named


def _still(output, name, figures, address):
    """The image of an output as HTML; "" if it has none."""
    data = output.data
    if "image/svg+xml" in data:
        return data["image/svg+xml"]  # as elements, with its own title and description
    if "image/png" not in data:
        return ""
    about = output.metadata.get("image/png", {}) | output.metadata
    file, (width, height) = write_webp(data["image/png"], figures, name)
    return (f'<img class="figure" alt="{html.escape(about.get("alt", ""), quote=True)}" src="{address}/{file}" '
            f'width="{width / SHARPNESS:.0f}" height="{height / SHARPNESS:.0f}" loading="lazy">')


def _with_files(page, name, figures, address):
    """HTML with the pictures in it, such as the frames of an animation, as files; the same picture is one file."""
    known = {}

    def as_file(found):
        png = re.sub(r"\\?\n", "", found[1])
        if png not in known:
            known[png] = f"{address}/{write_webp(png, figures, f'{name}-{len(known)}')[0]}"
        return known[png]

    return DATA_PNG.sub(as_file, page)


def _as_html(page):
    return nbformat.v4.new_output("display_data", {"text/html": page})
