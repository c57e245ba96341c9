"""Watch a kernel in Triton's interpreter: what it reads and writes, and where a GPU would do something else.

A GPU runs programs at the same time and the lanes of one program in many threads, and it forgives a wrong address
silently.  The interpreter does one thing after the other, so its results alone would hide races.  Under `watch` each
pointer is translated on its way to memory, and these are errors:

- reading or writing where the tensor that the pointer was made from has no element (OutOfBounds);
- reading or changing what another program wrote, or two lanes that store different values in one place (Race);
- reading back what another lane of the same program stored since the last `tl.debug_barrier()` (MissingBarrier);
- asking a whole block whether it is true (ManyTruths): the interpreter says yes.

Lanes that a mask switches off give NaN and numbers out of all proportion where the load names no `other`, because a GPU
gives anything.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np

REGION = 1 << 44  # bytes between the addresses at which tensors seem to lie: no wrong offset leads from one to the next
# What lanes without `other` read, one after the other.  NaN spoils sums, but maxima and minima pass over it.
ABSENT = {"f": (np.nan, 3e38, -3e38), "i": (-77, 99, -99), "u": (77, 99), "b": (True, False)}
ABSENT_BF16 = (0x7FC0, 0x7F7F, 0xFF7F)  # the same as bits, as which the interpreter keeps bfloat16


class Fault(Exception):  # noqa: N818
    """What a kernel must not do.  `sign` says what happened, whatever the kernel calls its arguments."""

    def __init__(self, message: str, sign: str):
        super().__init__(message)
        self.sign = f"{type(self).__name__}: {sign}"

    def _render_traceback_(self):  # IPython shows this in the place of a traceback
        return [f"{type(self).__name__}: {self}"]


class OutOfBounds(Fault):
    """It reads or writes where a tensor has no element."""


class Race(Fault):
    """The result depends on which program, or which lane, comes first."""


class MissingBarrier(Fault):
    """It reads from memory what another lane of the program stored, and nothing makes sure that it did so before."""


class ManyTruths(Fault):
    """It asks a whole block whether it is true."""


@contextlib.contextmanager
def watch():
    """In the block, launches of interpreted kernels are watched.

    A launch raises a Fault at the first thing that is wrong, and what the kernel itself raises without a wrapper.
    """
    from triton.runtime import interpreter

    from cnnlab.kernels import DEVICE, interpret_library

    builder, executor = interpreter.interpreter_builder, interpreter.GridExecutor
    launch, convert = executor.__call__, interpreter._implicit_cvt
    patch = interpreter._patch_lang_tensor
    if launch.__name__ == "watched":  # a watch in a watch
        yield
        return
    library = interpret_library() if DEVICE == "cuda" else []

    def watched(self, *args, **kwargs):
        seen = _Launch(builder, [name for name in self.arg_names if name not in self.constexprs])
        interpreter._implicit_cvt = lambda value: seen.converted(value, convert)
        interpreter._patch_lang_tensor = lambda tensor, scope: (patch(tensor, scope), scope.set_attr(
            tensor, "__bool__", _truth))
        for name in _Launch.OPERATIONS:
            setattr(builder, name, getattr(seen, name))
        try:
            with np.errstate(all="ignore"):  # a GPU does not warn
                return launch(self, *args, **kwargs)
        except interpreter.InterpreterError as e:
            cause = e
            while isinstance(cause, interpreter.InterpreterError) and cause.__cause__:
                cause = cause.__cause__
            raise cause from None
        finally:
            interpreter._implicit_cvt = convert
            interpreter._patch_lang_tensor = patch
            for name in _Launch.OPERATIONS:
                delattr(builder, name)

    executor.__call__ = watched
    try:
        yield
    finally:
        executor.__call__ = launch
        for place, name, value in library:
            setattr(place, name, value)


def _truth(value):
    """bool(value) in a kernel.  A block has none, but the interpreter says True, and so `max(block, 0)` would be 0."""
    data = value.handle.data
    if data.size != 1 and not sys._getframe(1).f_globals.get("__name__", "").startswith("triton."):
        raise ManyTruths("`if`, `and`, `or`, `not`, `max` and `min` take single values, and this is a block of shape "
                         f"{data.shape}. For blocks there are masks, `tl.where`, `&`, `|`, `~`, `tl.maximum` and "
                         "`tl.minimum`.", "a block")
    return bool(data) if data.size == 1 else True


class _Tensor:
    """A tensor that a kernel was given.  Its elements are counted in memory from the first, holes included."""

    def __init__(self, tensor, number, name):
        self.tensor, self.number, self.name = tensor, number, name
        self.start, self.size = tensor.data_ptr(), tensor.element_size()
        self.seems = (number + 1) * REGION + REGION // 2
        places = np.zeros((), np.int64)
        for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
            places = places[..., None] + np.arange(length) * stride
        self.extent = int(places.max()) + 1 if places.size else 0
        self.there = np.zeros(self.extent, bool)
        self.there[places.ravel()] = True
        # Programs by number; -1 nobody, -2 several.
        self.writer, self.reader, self.atomic = (np.full(self.extent, -1) for _ in range(3))
        self.lane = np.full(self.extent, -1)  # which lane of the running program stored last, -1 if a barrier came since

    def words(self):
        count = self.tensor.numel()
        holes = f"; its strides are {tuple(self.tensor.stride())}" if count != self.extent else ""
        return f"`{self.name}` has {count} (0 to {self.extent - 1}{holes})" if count else f"`{self.name}` has none"


class _Launch:
    """The memory operations of one launch, in the place of the interpreter's own."""

    OPERATIONS = ("create_masked_load", "create_masked_store", "create_atomic_rmw", "create_atomic_cas",
                  "create_barrier")

    def __init__(self, builder, names):
        self.builder, self.names, self.tensors = builder, iter(names), {}
        self.own = {name: getattr(type(builder), name) for name in self.OPERATIONS}
        self.program = None  # the one that runs

    def converted(self, value, convert):
        """An argument as the interpreter takes it; a tensor's pointer leads to where the tensor seems to lie."""
        result, name = convert(value), next(self.names, "a tensor")
        if hasattr(value, "data_ptr"):
            number = len(self.tensors)
            known = self.tensors[number] = _Tensor(value, number, name)
            result.handle.data = np.array([known.seems], np.uint64)
        return result

    def create_masked_load(self, ptrs, mask, other, *rest):
        on = np.broadcast_to(_data(mask), ptrs.data.shape)
        # Of a single lane nothing is known: there the interpreter takes `other=0.0`, being false, for no `other`.
        if other is None and on.size > 1 and not on.all():
            from triton.runtime.interpreter import TensorHandle, _get_np_dtype

            kind = ptrs.get_element_ty()
            dtype = np.dtype(_get_np_dtype(kind))
            absent = np.zeros(ptrs.data.shape, dtype)
            absent[~on] = np.resize(ABSENT_BF16 if kind.name == "bf16" else ABSENT[dtype.kind], (~on).sum())
            other = TensorHandle(absent, kind)
        real = self._each(ptrs, on, "reads", self._read)
        return self.own["create_masked_load"](self.builder, real, _handle(mask, on), other, *rest)

    def create_masked_store(self, ptrs, value, mask, *rest):
        on = np.broadcast_to(_data(mask), ptrs.data.shape)
        values = np.broadcast_to(value.data, ptrs.data.shape)
        real = self._each(ptrs, on, "writes", lambda *place: self._write(values, *place))
        return self.own["create_masked_store"](self.builder, real, value, _handle(mask, on), *rest)

    def create_atomic_rmw(self, operation, ptr, val, mask, *rest):
        on = np.broadcast_to(_data(mask), ptr.data.shape)
        real = self._each(ptr, on, "updates", self._update)
        return self.own["create_atomic_rmw"](self.builder, operation, real, val, mask, *rest)

    def create_atomic_cas(self, ptr, cmp, val, *rest):
        real = self._each(ptr, np.ones(ptr.data.shape, bool), "updates", self._update)
        return self.own["create_atomic_cas"](self.builder, real, cmp, val, *rest)

    def create_barrier(self):
        for tensor in self.tensors.values():
            tensor.lane[:] = -1

    def _each(self, ptrs, on, verb, note):
        """The pointers to where the elements really lie; `note` is called for each tensor that they lead to."""
        program = self.builder.grid_idx
        if program != self.program:
            self.program = tuple(program)
            self.create_barrier()  # lanes are those of one program
        real = np.zeros(ptrs.data.shape, np.uint64)
        addresses = ptrs.data.astype(np.int64)
        for number in np.unique(addresses[on] // REGION):
            tensor = self.tensors.get(int(number) - 1)
            if tensor is None:
                raise OutOfBounds(f"{self._who()} {verb} far outside of every tensor that it was given.",
                                  f"{verb} nowhere in {self.program}")
            here = on & (addresses // REGION == number)
            places, rest = np.divmod(addresses[here] - tensor.seems, tensor.size)
            self._bounds(tensor, places, rest, verb)
            note(tensor, places, np.flatnonzero(here), here)
            real[here] = tensor.start + places * tensor.size
        from triton.runtime.interpreter import TensorHandle

        return TensorHandle(real, ptrs.dtype)

    def _bounds(self, tensor, places, rest, verb):
        within = (places >= 0) & (places < tensor.extent) & (rest == 0)
        within[within] = tensor.there[places[within]]
        if not within.all():
            wrong = np.unique(places[~within])
            many = wrong.size > 1
            where = f"{wrong[0]} to {wrong[-1]}" if many and wrong[-1] - wrong[0] == wrong.size - 1 else (
                ", ".join(map(str, wrong[:4])) + (" …" if wrong.size > 4 else ""))
            raise OutOfBounds(f"{self._who()} {verb} element{'s' * many} {where} of `{tensor.name}`; {tensor.words()}.",
                              f"{verb} {tensor.number} {where} in {self.program}")

    def _read(self, tensor, places, lanes, here):
        me = self._me()
        others = self._others(tensor.writer, places, me) | self._others(tensor.atomic, places, me)
        if others.any():
            self._race(tensor, places[others], "reads", "wrote", np.where(
                tensor.writer[places[others]] >= 0, tensor.writer[places[others]], tensor.atomic[places[others]]))
        stored = tensor.lane[places]
        if ((stored >= 0) & (stored != lanes + _shape_key(here))).any():
            wrong = places[(stored >= 0) & (stored != lanes + _shape_key(here))]
            raise MissingBarrier(
                f"{self._who()} reads element {wrong[0]} of `{tensor.name}`, which another lane of it stored: on a GPU that "
                "may come later. A `tl.debug_barrier()` between the two makes every lane wait.",
                f"{tensor.number} {wrong[0]} in {self.program}")
        _note(tensor.reader, places, me)

    def _write(self, values, tensor, places, lanes, here):
        me, values = self._me(), values[here]
        order = np.argsort(places, kind="stable")
        twice = np.zeros(places.size, bool)
        a, b = order[:-1], order[1:]
        twice[b] = (places[a] == places[b]) & ~_equal(values[a], values[b])
        if twice.any():
            place = places[twice][0]
            raise Race(f"Two lanes of {self._who(small=True)} store different values in element {place} of `{tensor.name}`: "
                       "which one stays is not fixed.", f"lanes {tensor.number} {place} in {self.program}")
        changes = ~_equal(values, self._current(tensor, places, values.dtype))
        others = changes & self._others(tensor.writer, places, me)
        others |= self._others(tensor.atomic, places, me)
        if others.any():
            self._race(tensor, places[others], "overwrites", "wrote", tensor.writer[places[others]])
        read = changes & self._others(tensor.reader, places, me)
        if read.any():
            self._race(tensor, places[read], "overwrites", "reads", tensor.reader[places[read]])
        tensor.writer[places] = me
        tensor.lane[places] = lanes + _shape_key(here)

    def _update(self, tensor, places, lanes, here):
        me = self._me()
        others = self._others(tensor.writer, places, me)
        if others.any():
            self._race(tensor, places[others], "updates", "stored without atomics", tensor.writer[places[others]])
        _note(tensor.atomic, places, me)

    def _current(self, tensor, places, dtype):
        """What is in memory at `places` now, as the interpreter keeps it."""
        from triton.runtime.interpreter import _interpreter

        addresses = (tensor.start + places * tensor.size).astype(np.uint64)
        return _interpreter.load(addresses, np.ones(places.shape, bool), np.zeros(places.shape, dtype), dtype)

    @staticmethod
    def _others(who, places, me):
        return (who[places] != -1) & (who[places] != me)

    def _race(self, tensor, places, does, did, programs):
        other = int(programs[0])
        other = f"program {self._name(other)}" if other >= 0 else "another program"
        raise Race(f"{self._who()} {does} element {places[0]} of `{tensor.name}`, which {other} {did}: on a GPU they run at "
                   "the same time, and the result depends on which comes first.",
                   f"{does} {tensor.number} {places[0]} in {self.program}")

    def _me(self):
        x, y, z = self.program
        _, across, deep = self.builder.grid_dim
        return (x * across + y) * deep + z

    def _name(self, number):
        _, across, deep = self.builder.grid_dim
        return _short((number // (across * deep), number // deep % across, number % deep), self.builder.grid_dim)

    def _who(self, small=False):
        return f"{'p' if small else 'P'}rogram {_short(self.program, self.builder.grid_dim)}"


def _short(program, grid):
    """The number of a program in a grid of one dimension, else the numbers of the dimensions that there are."""
    used = max((i for i in range(3) if grid[i] > 1), default=0) + 1
    return str(program[0]) if used == 1 else str(tuple(program[:used]))


def _data(mask):
    data = mask.data if hasattr(mask, "data") and not isinstance(mask, np.ndarray) else mask
    return np.asarray(data, bool)  # a condition of one number, stretched to a tile, has become a number


def _handle(mask, on):
    if hasattr(mask, "dtype") and not isinstance(mask, np.ndarray):
        return type(mask)(np.ascontiguousarray(on), mask.dtype)
    return _Plain(on)


class _Plain:
    """A mask as the interpreter's operations look at it."""

    def __init__(self, data):
        self.data = data


def _note(who, places, me):
    who[places] = np.where((who[places] == -1) | (who[places] == me), me, -2)


def _shape_key(here):
    """Lanes of blocks of different shapes are different lanes."""
    return (hash(here.shape) % 997 + 1) << 32


def _equal(a, b):
    with np.errstate(invalid="ignore"):
        return (a == b) | ((a != a) & (b != b))
