"""Read what a student handed in as a notebook, or say in a sentence why it cannot be."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

MAX_BYTES = 50 * 2**20
MAX_CELLS = 2_000
MAX_SOURCE = 1_000_000  # characters in one cell, and in all text cells together
MAX_PARTS = 5_000_000  # values in the JSON; each takes some hundred bytes of memory
MAX_DEPTH = 50  # of lists in lists; nbformat copies notebooks by recursion


def parse(content: bytes) -> dict:
    """The JSON of a notebook of format 4 that nbformat can read.

    Raises ValueError, with a sentence, for anything else and for what would take too much memory or time.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB; clear its outputs and hand it in again.")
    if not content.strip():
        raise ValueError("it is not a notebook: not JSON (the file is empty).")
    if sum(map(content.count, (b"[", b"{", b","))) > MAX_PARTS:
        raise ValueError("it is not a notebook that can be read: it has millions of parts.")
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise ValueError(f"it is not a notebook: not UTF-8 text ({e.reason} at byte {e.start}).") from e
    except (ValueError, RecursionError) as e:
        raise ValueError(f"it is not a notebook: not JSON ({e}).") from e
    if fault := _fault(data):
        raise ValueError(fault)
    return data


def read(path: Path) -> bytes:
    """The bytes of a plain file: no link is followed, and nothing opened that could block, such as a FIFO.

    Raises ValueError, with a sentence, for anything else.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("it is not a file but a link, a folder or a device; hand in the notebook itself.")
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(file, "rb") as f:
            content = f.read(MAX_BYTES + 1)
    except OSError as e:
        raise ValueError(f"it cannot be read: {e.strerror}.") from e
    if content.startswith(b"\xef\xbb\xbf"):  # collect takes it off
        raise ValueError("it begins with a byte order mark, which nbgrader cannot read; collect it again.")
    return content


def _fault(data):
    """What keeps the JSON from being a notebook that nbformat and nbconvert read, in a sentence; "" if nothing."""
    if not isinstance(data, dict) or not isinstance(data.get("cells", data.get("worksheets")), list):
        return "it is not a notebook: JSON, but without a list of cells."
    if type(data.get("nbformat")) is not int or data["nbformat"] != 4:
        return (f"it has notebook format {str(data.get('nbformat'))[:20]}; open it in JupyterLab and save it, "
                "which makes it format 4.")
    if type(data.get("nbformat_minor")) is not int or data["nbformat_minor"] < 0 or "cells" not in data:
        return "it is not a notebook: it does not say which minor version of format 4 it has, or has no cells."
    if not isinstance(data.get("metadata"), dict) or not isinstance(data["metadata"].get("language", ""), str):
        return "it is not a notebook: its metadata are not what Jupyter writes."
    if len(data["cells"]) > MAX_CELLS:
        return f"it has {len(data['cells']):,} cells; at most {MAX_CELLS:,} are graded."
    if _is_deep(data):
        return f"it is not a notebook: its JSON is nested more than {MAX_DEPTH} levels deep."
    for number, cell in enumerate(data["cells"], 1):
        if fault := _fault_of_cell(cell):
            return f"cell {number} of it {fault}; open it in JupyterLab, delete that cell and save it."
    texts = [len(text_of(c.get("source"))) for c in data["cells"] if c.get("cell_type") != "code"]
    return f"its text cells have {sum(texts):,} characters, too many to show." if sum(texts) > MAX_SOURCE else ""


def _fault_of_cell(cell):
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
        return "is not a cell as Jupyter writes it"
    if not isinstance(cell.get("cell_type"), str) or not isinstance(cell.get("id", ""), str):
        return "has a type or an id that is not text"
    if not _is_text(cell.get("source", "")):
        return "has a source that is not text"
    if len(text_of(cell.get("source"))) > MAX_SOURCE:
        return f"has more than {MAX_SOURCE:,} characters"
    attached = cell.get("attachments", {})
    if not isinstance(attached, dict) or not all(isinstance(a, dict) for a in attached.values()):
        return "has attachments that are not images"
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        return "has outputs that are not a list"
    for output in outputs:
        if not (isinstance(output.get("output_type", ""), str) and isinstance(output.get("data", {}), dict)
                and (not isinstance(output.get("text", ""), list) or _is_text(output["text"]))):
            return "has an output that is not one of a kernel"
    return ""


def _is_deep(data):
    level, depth = [data], 0
    while level and depth <= MAX_DEPTH:
        level = [v for item in level for v in (item.values() if isinstance(item, dict) else item)
                 if isinstance(v, dict | list)]
        depth += 1
    return depth > MAX_DEPTH


def _is_text(value):
    return isinstance(value, str) or isinstance(value, list) and all(isinstance(line, str) for line in value)


def text_of(source):
    return "".join(source or "")
