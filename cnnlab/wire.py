"""Values as bytes between the grader and a room: never pickle, nothing believed.

`pack` gives a JSON-able form and a list of buffers, one `.npy` per array; `unpack` reads them.  What a room
sends may be anything, so `unpack` looks at every size before it allocates.  What has no form here, such as
a student's own object, travels as a handle: a number, and a few words that describe it.
"""

from __future__ import annotations

import io
import math

import numpy as np

from cnnlab.compare import Handle, describe
from cnnlab.probes import strided

KINDS = "biufc"  # dtypes that may travel: bools and numbers
MAX_DEPTH = 16
MAX_ITEMS = 200_000  # of lists, tuples and dicts in one value, together
MAX_DIGITS = 4000  # of a whole number; Python refuses to read more
HEADER = 10_000  # bytes of an .npy header


class Malformed(ValueError):  # noqa: N818
    """What came over the wire is not what `pack` makes."""


def pack(value, buffers: list[bytes], keep) -> object:
    """`value` in a form that JSON can hold; arrays go to `buffers`.

    keep: gives an object that cannot travel a number, under which it can be asked for.
    Raises Malformed if it is nested too deep or has too many items.
    """
    return _Packer(buffers, keep).pack(value, 0)


class _Packer:
    def __init__(self, buffers, keep):
        self.buffers, self.keep, self.items = buffers, keep, 0

    def pack(self, value, depth):
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise Malformed("The value returned is nested too deep or too long to be looked at: "
                            f"at most {MAX_DEPTH} levels and {MAX_ITEMS} items.")
        kind = type(value)  # exactly: a subclass could lie about itself
        if value is None or kind is bool or kind is str:
            return value
        if kind is int and value.bit_length() < 3 * MAX_DIGITS:
            return value if value.bit_length() < 60 else {"int": str(value)}
        if kind is float:
            return {"float": value.hex()}
        if kind is complex:
            return {"complex": [value.real.hex(), value.imag.hex()]}
        if kind is list or kind is tuple:
            return {kind.__name__: [self.pack(v, depth + 1) for v in value]}
        if kind is dict and all(type(k) is str for k in value):
            return {"dict": [[k, self.pack(v, depth + 1)] for k, v in value.items()]}
        if isinstance(value, np.generic) and value.dtype.kind in KINDS:
            return {"scalar": self._array(np.array(value))}
        if isinstance(value, np.ndarray) and np.ndarray.dtype.__get__(value).kind in KINDS:
            plain = np.array(value, subok=False)
            form = {"npy": self._array(plain)}
            return form if value.flags.c_contiguous else form | {"strided": True}
        return {"handle": self.keep(value), "is": str(describe(value))[:200]}

    def _array(self, array):
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        self.buffers.append(out.getvalue())
        return len(self.buffers) - 1


def unpack(form, buffers, held=None):
    """The inverse of `pack`.  Raises Malformed for anything that `pack` does not make.

    held: gives the object with a handle's number; without it, a Handle is returned.
    """
    return _Unpacker(buffers, held).unpack(form, 0)


class _Unpacker:
    def __init__(self, buffers, held):
        self.buffers, self.held, self.items = buffers, held, 0
        self.used = set()

    def unpack(self, form, depth):
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise Malformed("nested too deep or too long")
        if type(form) is str:
            return whole(form)
        if form is None or type(form) in (bool, int):
            return form
        if type(form) is not dict:
            raise Malformed(f"a {type(form).__name__} where a value belongs")
        try:
            return self._unpack(form, depth)
        except Malformed:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as e:
            raise Malformed(f"{type(e).__name__} in a value") from e

    def _unpack(self, form, depth):
        match next(iter(form), None):
            case "int":
                if len(form["int"]) > 4 * MAX_DIGITS:
                    raise Malformed("a whole number that is too long")
                return int(form["int"])
            case "float":
                return float.fromhex(form["float"])
            case "complex":
                real, imaginary = form["complex"]
                return complex(float.fromhex(real), float.fromhex(imaginary))
            case "list":
                return [self.unpack(v, depth + 1) for v in form["list"]]
            case "tuple":
                return tuple(self.unpack(v, depth + 1) for v in form["tuple"])
            case "dict":
                return {whole(str(k)): self.unpack(v, depth + 1) for k, v in form["dict"]}
            case "scalar":
                return self._array(form["scalar"])[()]
            case "npy":
                array = self._array(form["npy"])
                return strided(array) if form.get("strided") and self.held else array
            case "handle":
                if self.held:
                    return self.held(form["handle"])
                return Handle(int(form["handle"]), whole(str(form["is"])[:200]))
        raise Malformed("an unknown kind of value")

    def _array(self, index):
        if type(index) is not int or index in self.used:  # each once, or a small message could fill the memory
            raise Malformed("an array that is used twice")
        self.used.add(index)
        return read_npy(self.buffers[index])


def whole(text: str) -> str:
    """The text with half characters, which cannot be written to a file, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_npy(data) -> np.ndarray:
    """An array from the bytes of an `.npy` file.  Raises Malformed unless the size is exactly as stated.

    NumPy's own reader allocates what the header asks for before it looks at what is there.
    """
    data = memoryview(data).cast("B")
    stream = io.BytesIO(bytes(data[:HEADER]))
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise Malformed("an array of an unknown format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Malformed:
        raise
    except Exception as e:  # noqa: BLE001  the header is parsed as Python literals, which fail in many ways
        raise Malformed("an array without a proper header") from e
    if dtype.kind not in KINDS or dtype.hasobject or any(type(n) is not int or n < 0 for n in shape):
        raise Malformed("an array of something other than numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell() or len(shape) > 32:
        raise Malformed("an array whose size is not what its header says")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    array = flat.reshape(shape, order="F" if fortran else "C")
    return np.array(array, dtype.newbyteorder("="), order="K")
