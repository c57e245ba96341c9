"""The data of an exercise: its probes, expected values, mistakes and hints, as JSON.

One file per exercise in `cnnlab/exercises/`, written by the build and by the grader,
read by `check` and `hint`.  JSON, because a student may look, and because it cannot run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "exercises"


@dataclass(frozen=True)
class Raises:
    """Stands where a mistake raises an exception instead of returning a value."""

    name: str


@dataclass(frozen=True)
class Probe:
    """One call of the student's function, and what it should return.

    steps: for a class, what is done with the object that the call makes: (method, its arguments by name) or
    (attribute, None), one after the other.  The answer is then the tuple of what each step gave.  The names
    of arguments are for the reader; a value that comes twice needs two.
    mistakes: what each mistake returns here, by name, where that is not `expected`.
    part: the part of the exercise this belongs to; every part counts the same.
    device: "cpu" or "meta" for PyTorch: arrays are then given as tensors there, modules are made there, and tensors
    that come back are compared as arrays; a step may be one of `cnnlab.modules.STEPS`.  "" for NumPy.
    grid, written: for a kernel in Triton, the programs it is launched with, and the positions of the arguments that it
    writes; the answer is what those hold afterwards.
    """

    args: tuple
    kwargs: dict
    expected: object = None
    mistakes: Mapping = field(default_factory=dict)
    part: str = ""
    steps: tuple[tuple[str, dict | None], ...] = ()
    device: str = ""
    grid: tuple[int, ...] = ()
    written: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers go in: the smallest failing probe is the one to show."""
        return sum(map(_size, self.inputs()))

    def inputs(self) -> list:
        """Every value that goes in: the arguments of the call and of its steps, in order."""
        return [*self.args, *self.kwargs.values(), *(v for _, given in self.steps for v in (given or {}).values())]

    def mapped(self, change: Callable) -> Probe:
        """The probe with `change(value)` in the place of every value that goes in."""
        def each(given):
            return given and {k: change(v) for k, v in given.items()}

        return replace(self, args=tuple(map(change, self.args)), kwargs=each(self.kwargs),
                       steps=tuple((name, each(given)) for name, given in self.steps))


def _size(value):
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return 0 if isinstance(value, str) else np.size(value)


@dataclass(frozen=True)
class Shipped:
    """An exercise as a student has it: data only.

    mistakes: the teacher's sentence for each mistake, by name.
    parameters: the names of the function's parameters, in order.
    forbidden: modules that the function may not use.
    """

    id: str
    points: float
    function: str
    parameters: tuple[str, ...]
    probes: tuple[Probe, ...]
    mistakes: dict[str, str]
    hints: tuple[str, ...]
    forbidden: tuple[str, ...] = ()


def load(exercise: str, folder: Path = FOLDER) -> Shipped:
    """Read the exercise called `exercise`.  Raises ValueError, with the nearest names, if there is none."""
    path = folder / f"{exercise}.json"
    if not path.is_file():
        names = sorted(p.stem for p in folder.glob("*.json"))
        close = difflib.get_close_matches(str(exercise), names, n=3) or names[:3]
        raise ValueError(f"There is no exercise {exercise!r}. Did you mean {', '.join(close)}?")
    return from_json(json.loads(path.read_text(encoding="utf-8")))


def from_json(data: dict) -> Shipped:
    probes = tuple(
        Probe(tuple(p["args"]), p["kwargs"], decode(p["expected"]), {k: decode(v) for k, v in p["mistakes"].items()},
              p["part"], tuple(map(tuple, p.get("steps", []))), p.get("device", ""), tuple(p.get("grid", [])),
              tuple(p.get("written", []))).mapped(decode)
        for p in data["probes"])
    return Shipped(data["id"], data["points"], data["function"], tuple(data["parameters"]), probes,
                   data["mistakes"], tuple(data["hints"]), tuple(data["forbidden"]))


def to_json(exercise: Shipped) -> dict:
    return {
        "id": exercise.id, "points": exercise.points, "function": exercise.function,
        "parameters": list(exercise.parameters), "forbidden": list(exercise.forbidden),
        "mistakes": exercise.mistakes, "hints": list(exercise.hints),
        "probes": [{"part": p.part, "args": list(p.args), "kwargs": p.kwargs,
                    **({"steps": [list(step) for step in p.steps]} if p.steps else {}),
                    **({"device": p.device} if p.device else {}),
                    **({"grid": list(p.grid), "written": list(p.written)} if p.grid else {}),
                    "expected": encode(p.expected),
                    "mistakes": {k: encode(v) for k, v in p.mistakes.items()}}
                   for p in (p.mapped(encode) for p in exercise.probes)]}


def encode(value):
    """A value as JSON.  Arrays keep shape, dtype, and whether they were a strided view."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        data = {"dtype": str(value.dtype), "shape": list(value.shape),
                "data": [_plain(v) for v in value.ravel().tolist()]}
        return data if value.flags.c_contiguous else data | {"strided": True}
    if isinstance(value, tuple):
        return {"tuple": [encode(v) for v in value]}
    if isinstance(value, Raises):
        return {"raises": value.name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):  # kept apart from int: 5.0 and 5 are different answers
        return {"float": _plain(value)}
    if value is None or isinstance(value, bool | int | str):
        return value
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(f"A probe cannot hold {kind}: use arrays of bools or real numbers, numbers, strings, "
                    "bools, None, or tuples of these.")


def decode(data):
    """The inverse of `encode`."""
    if not isinstance(data, dict):
        return data
    if "tuple" in data:
        return tuple(decode(v) for v in data["tuple"])
    if "raises" in data:
        return Raises(data["raises"])
    if "float" in data:
        return float(data["float"])
    array = np.array([float(v) if isinstance(v, str) else v for v in data["data"]],
                     dtype=data["dtype"]).reshape(data["shape"])
    return strided(array) if data.get("strided") else array


def strided(array: np.ndarray) -> np.ndarray:
    """An equal array that is a view into a larger one: every second element along each axis.

    What lies between is NaN (or a large number), so code that assumes contiguous memory shows.
    """
    fill = np.nan if array.dtype.kind in "fc" else 77
    buffer = np.full([2 * n for n in array.shape], fill, dtype=array.dtype)
    view = buffer[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def _plain(value):
    """A number for JSON: whole floats as ints, others to 13 digits, NaN and inf as strings.

    The tolerance of a check is 1e-10, so the digits left out never decide.
    """
    if not isinstance(value, float):
        return value
    if not np.isfinite(value):
        return str(value)
    return int(value) if value == int(value) and abs(value) < 2**53 else float(f"{value:.13g}")
