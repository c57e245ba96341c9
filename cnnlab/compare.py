"""Compare an answer with what was expected, one layer after another.

The layers are, in order: kind, shape, dtype, finiteness, values.  `compare` stops at
the first that fails, because the later ones would only repeat it in other words.
Nothing here knows about exercises; the grader uses the same function.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from dataclasses import dataclass

import numpy as np

# max|difference| / rms(expected), by the less precise of the two dtypes.  An elementwise
# relative error would misjudge values near zero, and a correct float32 convolution over
# some hundred products already fails NumPy's default `allclose`.
TOLERANCE = {"float64": 1e-10, "complex128": 1e-10, "float32": 1e-5, "complex64": 1e-5,
             "float16": 1e-2}

NUMBER = (int, float, complex, np.number)


@dataclass(frozen=True)
class Difference:
    """Why an answer is not the expected one.

    layer: "kind", "shape", "dtype", "finite" or "values".
    message: one sentence with the numbers.
    where: a sentence on where it differs or how the two are related, or "".
    wrong: for "finite" and "values" of arrays, a bool array that is True where it differs.
    path: where in a returned tuple the compared value stands, such as "[1]", or "".
    """

    layer: str
    message: str
    where: str = ""
    wrong: np.ndarray | None = None
    path: str = ""


@dataclass(frozen=True)
class Handle:
    """Stands for an object that stayed in another process (cnnlab.wire).  description: a few words for it."""

    number: int
    description: str


def compare(expected, got, path: str = "") -> Difference | None:
    """Return the first difference between `got` and `expected`, or None if there is none.

    expected: an array, a number, a string, a bool, None, or a tuple of these.
    got: anything.  Lists are taken as arrays or tuples, NumPy scalars as numbers.
    """
    if isinstance(expected, tuple):
        return _compare_tuple(expected, got, path)
    if got is None and expected is not None:
        return Difference("kind", f"It returned None, expected {describe(expected)}. "
                                  "Is a `return` missing?", path=path)
    if isinstance(expected, np.ndarray):
        return _compare_array(expected, got, path)
    if isinstance(expected, bool | np.bool_ | str | None.__class__):
        return _compare_plain(expected, got, path)
    return _compare_number(expected, got, path)


def same(expected, got) -> bool:
    """True if `got` equals `expected` in kind, shape, dtype and values."""
    return compare(expected, got) is None


def describe(value) -> str:
    """A few words for a value: its kind, and for arrays shape and dtype."""
    if isinstance(value, Handle):
        return value.description
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return f"a 0-dimensional array of {value.dtype}"
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, bool | np.bool_):
        return f"the bool {bool(value)}"
    if isinstance(value, NUMBER) and not isinstance(value, np.timedelta64):
        return f"the number {number(value)}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if value is None:
        return "None"
    if isinstance(value, Generator):
        return "a generator, because it contains `yield`"
    if isinstance(value, Coroutine):
        return "a coroutine, because it is defined with `async`"
    if callable(value):
        return f"the function `{getattr(value, '__name__', type(value).__name__)}` itself"
    return f"a value of type {type(value).__name__}"


def number(value) -> str:
    """A number as a person writes it: no trailing zeros, six significant digits, whole numbers whole."""
    if isinstance(value, int | np.integer | bool | np.bool_):
        digits = int(value).bit_length() * 0.30103  # str() refuses integers with thousands of digits
        return str(int(value)) if digits < 16 else f"a whole number of about {digits:.0f} digits"
    value = complex(value)
    if value.imag:
        return f"{value:.6g}"
    return f"{value.real:.6g}"


def _compare_tuple(expected, got, path):
    if isinstance(got, np.ndarray) and got.ndim == 1:
        got = tuple(got)
    if not isinstance(got, tuple | list):
        return Difference("kind", f"It returned {describe(got)}, expected "
                                  f"{_values(len(expected))}: a tuple.", path=path)
    if len(got) != len(expected):
        return Difference("kind", f"It returned {_values(len(got))}, expected {len(expected)}.",
                          _first_string_that_differs(expected, got), path=path)
    for i, (e, g) in enumerate(zip(expected, got)):
        difference = compare(e, g, f"{path}[{i}]")
        if difference:
            return difference
    return None


def _values(count):
    return f"{count} value{'' if count == 1 else 's'}"


def _first_string_that_differs(expected, got):
    """Of two lists of strings of different length, such as the layers of networks, where they part; else ""."""
    if not all(type(v) is str for v in (*expected, *got)):
        return ""
    i = next((i for i, (e, g) in enumerate(zip(expected, got)) if e != g), min(len(expected), len(got)))
    g, e = (repr(values[i][:200]) if i < len(values) else "nothing" for values in (got, expected))
    return f"The first that differs is [{i}]: it returned {g}, expected {e}."


def _compare_plain(expected, got, path):
    kind = bool if isinstance(expected, bool | np.bool_) else type(expected)
    if isinstance(got, np.bool_):
        got = bool(got)
    if type(got) is not kind:
        wanted = "None" if expected is None else f"a {kind.__name__}"
        return Difference("kind", f"It returned {describe(got)}, expected {wanted}.", path=path)
    if got != expected:
        return Difference("values", f"It returned {repr(got)[:200]}, expected {expected!r}.", path=path)
    return None


def _compare_number(expected, got, path):
    if isinstance(got, np.ndarray) and got.ndim == 0:
        got = got[()]
    if isinstance(got, bool | np.bool_ | np.timedelta64) or not isinstance(got, NUMBER):
        return Difference("kind", f"It returned {describe(got)}, expected a number.", path=path)
    whole = isinstance(got, int | np.integer)
    if not whole and not np.isfinite(got):
        return Difference("finite", f"It returned {got}, expected {number(expected)}.", path=path)
    if isinstance(expected, int) and not whole:
        return Difference("dtype", f"It returned {got!r}, a {type(got).__name__}, expected a whole "
                                   "number (int). Use `//` where a division should stay whole.",
                          path=path)
    if isinstance(got, complex | np.complexfloating) and not isinstance(expected, complex):
        return Difference("dtype", f"It returned the complex number {number(got)}, expected a real "
                                   "one.", path=path)
    tolerance = TOLERANCE.get(str(getattr(got, "dtype", "float64")), 1e-10)
    got = got.item() if isinstance(got, np.generic) else got
    right = int(got) == expected if whole and isinstance(expected, int) else (
        abs(got) < 1e300 and abs(got - expected) <= tolerance * (abs(expected) or 1))
    if not right:
        sign = "The sign is the other way round." if got == -expected and expected else ""
        return Difference("values", f"It returned {number(got)}, expected {number(expected)}.", sign, path=path)
    return None


def _compare_array(expected, got, path):
    if isinstance(got, list | tuple):
        if not _is_numbers(got, expected):
            return Difference("kind", f"It returned {describe(got)} with something other than numbers in it, or far too "
                                      f"many, expected {describe(expected)}.", path=path)
        try:
            got = np.array(got)
        except ValueError:
            return Difference("kind", "It returned a list whose rows have different lengths, "
                                      f"expected {describe(expected)}.", path=path)
    if not isinstance(got, np.ndarray | np.number | int | float):
        return Difference("kind", f"It returned {describe(got)}, expected {describe(expected)}.",
                          path=path)
    got = np.array(got)  # a plain ndarray: a subclass could answer comparisons as it likes
    if got.dtype.kind not in "biufc":
        return Difference("kind", f"It returned an array of {got.dtype}, expected numbers: "
                                  f"{expected.dtype}.", path=path)
    if got.shape != expected.shape:
        return Difference("shape", f"It returned shape {got.shape}, expected {expected.shape}.",
                          _shape_hint(expected.shape, got.shape), path=path)
    if message := _dtype_message(expected.dtype, got.dtype):
        return Difference("dtype", message, path=path)
    with np.errstate(all="ignore"):  # whatever overflows or underflows on the way is not the student's
        return _compare_finite(expected, got, path) or _compare_values(expected, got, path)


def _is_numbers(values, expected):
    """Does the list, and lists in it, hold numbers and arrays of numbers only, and not far more than expected?"""
    most, count, todo = 100 * expected.size + 10_000, 0, [values]
    while todo:
        value = todo.pop()
        if isinstance(value, list | tuple):
            todo += value
            count += 1
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            count += value.size
        elif isinstance(value, (*NUMBER, np.bool_)):
            count += 1
        else:
            return False
        if count > most or len(todo) > most:
            return False
    return True


def _shape_hint(expected, got):
    if len(expected) != len(got):
        more = "more" if len(got) > len(expected) else "fewer"
        count = abs(len(got) - len(expected))
        return f"It has {count} {more} dimension{'s' if count > 1 else ''} than expected."
    if got == expected[::-1]:
        return "The axes are in reverse order."
    if sorted(got) == sorted(expected):
        return "The sizes are right but in another order."
    off = [f"axis {i} is {abs(g - e)} too {'long' if g > e else 'short'}"
           for i, (e, g) in enumerate(zip(expected, got)) if g != e]
    text = ", ".join(off)
    return text[0].upper() + text[1:] + "."


def _dtype_message(expected, got):
    rank = "biufc".index
    if expected.kind in "iu" and got.kind in "iu":
        return ""
    if rank(got.kind) > rank(expected.kind):
        extra = " Take the real part." if got.kind == "c" else ""
        return f"It returned dtype {got}, expected {expected}.{extra}"
    if got.kind == "b" != expected.kind:
        return f"It returned dtype bool, true or false, expected numbers: {expected}."
    if rank(got.kind) < rank(expected.kind):
        return (f"It returned dtype {got}, expected {expected}. An integer array cuts off "
                "the fraction of what is stored in it.")
    if got.itemsize < expected.itemsize:
        return f"It returned dtype {got}, expected {expected}: precision is lost on the way."
    return ""


def _compare_finite(expected, got, path):
    wrong = np.isfinite(expected) & ~np.isfinite(got)
    if not wrong.any():
        return None
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return Difference("finite", f"{_count(wrong)} not finite; the first is {got[first]} at "
                                f"{_index(first)}, expected {number(expected[first])}.",
                      _where(wrong), wrong, path)


def _compare_values(expected, got, path):
    tolerance = max(TOLERANCE.get(str(expected.dtype), 0), TOLERANCE.get(str(got.dtype), 0))
    finite = np.isfinite(expected)
    rms = np.sqrt(np.mean(np.abs(expected[finite].astype(float)) ** 2)) if finite.any() else 0
    distance = np.abs(np.subtract(got, expected, dtype=np.result_type(got, expected, float)))
    close = distance <= tolerance * (rms or 1)
    wrong = ~(close | (got == expected) | (np.isnan(got) & np.isnan(expected)))
    if not wrong.any():
        return None
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return Difference(
        "values",
        f"{_count(wrong)} wrong; at {_index(first)} it returned {number(got[first])}, "
        f"expected {number(expected[first])}.",
        " ".join(filter(None, [_where(wrong), _related(expected, got)])), wrong, path)


def _count(wrong):
    n, total = int(wrong.sum()), wrong.size
    if total == 1:
        return "The only value is"
    if n == total:
        return f"All {total} values are"
    return f"{n} of {total} values {'is' if n == 1 else 'are'}"


def _index(index):
    return f"index [{', '.join(map(str, index))}]"


def _where(wrong: np.ndarray) -> str:
    """One sentence on the pattern of the wrong places, or "" if there is none to see."""
    if wrong.all() or wrong.ndim == 0:
        return ""
    if wrong.ndim == 1:
        ends = wrong.copy()
        ends[1:-1] = False
        return "Only the ends differ." if len(wrong) > 2 and (ends == wrong).all() else ""
    for axis in range(wrong.ndim - 2):
        hit = wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis))
        if not hit.all():
            return (f"Along axis {axis} only {_these(hit)} {'is' if hit.sum() == 1 else 'are'} "
                    f"wrong; {_these(~hit)} {'is' if (~hit).sum() == 1 else 'are'} right.")
    plane = wrong.any(axis=tuple(range(wrong.ndim - 2)))
    return _where_in_plane(plane)


def _these(hit):
    return "index " + ", ".join(map(str, np.flatnonzero(hit)))


def _where_in_plane(plane):
    height, width = plane.shape
    if min(height, width) < 3:
        return ""
    rows, cols = plane.any(axis=1), plane.any(axis=0)
    if not rows[:-1].any():
        return "Only the last row differs."
    if not cols[:-1].any():
        return "Only the last column differs."
    for border in range(1, (min(height, width) + 1) // 2):
        if not plane[border:-border, border:-border].any():
            edges = [name for name, part in [
                ("top", plane[:border]), ("bottom", plane[-border:]),
                ("left", plane[border:-border, :border]), ("right", plane[border:-border, -border:]),
            ] if part.any()]
            return f"The interior is right; only the border differs ({', '.join(edges)})."
    return ""


def _related(expected, got) -> str:
    """A fact about how the two are related, or "".  A fact, not yet a cause."""
    e, g = expected.astype(float), got.real.astype(float)
    if not (np.isfinite(e).all() and np.isfinite(g).all()) or not e.any():
        return ""
    scale = np.abs(e).max()

    def near(a, b):
        return a.shape == b.shape and np.abs(a - b).max() <= 1e-6 * scale

    if e.ndim == 0:
        return ""
    if not g.any():
        return "Every value returned is 0."
    if near(g, e):
        return "Every value is right to six digits: a very small term differs, or rounding on the way (float32?)."
    ratio = (g * e).sum() / (e * e).sum()
    multiple = near(g, ratio * e) and np.abs(g - ratio * e).max() <= 1e-6 * np.abs(g).max()  # g may be tiny beside e
    if multiple and e.size > 1 and abs(ratio - 1) > 1e-6:
        if near(g, -e):
            return "Every sign is the other way round."
        return f"Every value is {number(ratio)} times the expected one."
    shift = (g - e).mean()
    if near(g, e + shift) and e.size > 1:
        return f"Every value is {number(abs(shift))} too {'large' if shift > 0 else 'small'}."
    for axes, text in _flips(e.ndim):
        if near(g, np.flip(e, axes)):
            return f"It is the expected array {text}."
    if e.ndim >= 2 and near(g, np.swapaxes(e, -1, -2)):
        return "It is the expected array transposed."
    if near(g, np.maximum(e, 0)):
        return "Negative values have become 0."
    if near(g, np.trunc(e)):
        return "Every value has lost its fraction."
    if near(np.sort(g, None), np.sort(e, None)):
        return "The right values are there, in the wrong places."
    return ""


def _flips(ndim):
    if ndim == 1:
        return [((0,), "reversed")]
    return [((-2,), "with its rows in reverse order"), ((-1,), "with its columns in reverse order"),
            ((-2, -1), "rotated by 180°")]
