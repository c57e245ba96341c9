"""The outputs of a cell as they stand on a page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from autograder.site.figures import SHARPNESS

WIDGET = "application/vnd.cnnlab.widget+json"  # {"module": "convolution", "state": {…}}
DATA_PNG = re.compile(r"data:image/png;base64,((?:[A-Za-z0-9+/=]|\\\n|\n)+)")


def on_page(cell: NotebookNode, figures: Path, static: str) -> list[NotebookNode]:
    """The outputs of `cell`, with pictures as files in `figures` and widgets as elements.

    static: the address of _static from the page; figures/ is there.
    """
    return [_shown(output, figures, static) for output in cell.get("outputs", [])]


def _shown(output, figures, static):
    data = output.get("data", {})
    if WIDGET in data:
        return _as_html(widget(data[WIDGET], _still(output, figures, static), static))
    if "text/html" in data:
        return _as_html(DATA_PNG.sub(lambda found: _file(re.sub(r"\\?\n", "", found[1]), figures, static)[0],
                                     data["text/html"]))
    if "image/png" in data:
        return _as_html(_still(output, figures, static))
    return output


def widget(asked: dict, still: str, static: str) -> str:
    """The element that docs/_static/live.js brings to life; until then, and without scripts, it shows `still`."""
    module, state = (html.escape(text) for text in (asked["module"], json.dumps(asked["state"])))
    return (f'<div class="cnnlab-widget" data-module="{module}" data-state="{state}">{still}</div>\n'
            f'<script type="module" src="{static}/live.js"></script>')  # a module runs once, however often it is named


def _still(output, figures, static):
    """The image of an output as HTML; "" if it has none."""
    data = output.data
    if "image/svg+xml" in data:
        return data["image/svg+xml"]  # as elements, with its own title and description
    if "image/png" not in data:
        return ""
    about = output.metadata.get("image/png", {}) | output.metadata
    address, (width, height) = _file(data["image/png"], figures, static)
    return (f'<img class="figure" alt="{html.escape(about.get("alt", ""))}" src="{address}" '
            f'width="{width / SHARPNESS:.0f}" height="{height / SHARPNESS:.0f}" loading="lazy">')


def _file(png, figures, static):
    """A picture as a file: its address and its size."""
    name, size = write_webp(png, figures)
    return f"{static}/figures/{name}", size


def write_webp(png: str, folder: Path) -> tuple[str, tuple[int, int]]:
    """Write a base64 PNG to `folder` as WebP, with or without loss, whichever is smaller; its file name and size.

    The name says what is in it, so that the same picture is written once.
    """
    data = base64.b64decode(png)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:12]}.webp"
    picture = Image.open(io.BytesIO(data))
    if not path.is_file():
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        if picture.mode == "RGBA" and picture.getextrema()[3][0] == 255:
            picture = picture.convert("RGB")
        files = []
        for way in ({"lossless": True}, {"quality": 85}):
            picture.save(out := io.BytesIO(), "webp", method=4, **way)
            files.append(out.getvalue())
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(min(files, key=len))
    return path.name, picture.size


def _as_html(page):
    return nbformat.v4.new_output("display_data", {"text/html": page})
