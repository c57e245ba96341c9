"""What long runs measured: each table made once, by a command, kept beside this file, and drawn by the notebooks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


class Results(dict):
    """A measured table: columns by name, arrays of equal length.

    command, device, date: how, on what and when it was measured; header: all lines above the table.
    """

    def __init__(self, columns: dict[str, np.ndarray], header: dict[str, str]):
        super().__init__(columns)
        self.header = header
        self.command, self.device, self.date = (header[key] for key in ("command", "device", "date"))


def load(name: str) -> Results:
    """The measured table `name`: whole numbers int64, other numbers float64, anything else strings.

    Raises ValueError, with the names there are, for another one.
    """
    lines = _path(name, "csv").read_text("utf-8").splitlines()
    above = [line for line in lines if line.startswith("#")]
    names, *rows = csv.reader(lines[len(above):])
    header = dict(line.removeprefix("# ").split(": ", 1) for line in above)
    columns = zip(*rows, strict=True)
    return Results({name: _column(cells) for name, cells in zip(names, columns, strict=True)}, header)


def arrays(name: str) -> dict[str, np.ndarray]:
    """Arrays kept under `name`, such as the weights of a network, in the order in which they were stored.

    What is kept as float16 comes as float32.  Raises ValueError, with the names there are, for another one.
    """
    with np.load(_path(name, "npz")) as kept:
        return {key: v.astype(np.float32) if v.dtype == np.float16 else v for key, v in kept.items()}


def _path(name, ending):
    path = FOLDER / f"{name}.{ending}"
    there = sorted(p.stem for p in FOLDER.glob(f"*.{ending}"))
    if name not in there:
        raise ValueError(f"There is no {name!r} among the results; there are {', '.join(there)}.")
    return path


def _column(cells):
    for dtype in (np.int64, np.float64):
        try:
            return np.array(cells, dtype)
        except ValueError:
            pass
    return np.array(cells)
