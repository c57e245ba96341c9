"""Call a student's function on a probe and keep what came of it, whatever that is.

Two halves.  `call` runs where the student's code is and answers with a Reply, which is only data.
`run_all` makes the calls and compares; in a notebook it does so in the same process, in the grader
in another, which the student's code cannot reach.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cnnlab import language, launch, modules
from cnnlab.compare import Difference, compare, describe
from cnnlab.notebook import name_of
from cnnlab.probes import Probe, strided
from cnnlab.watch import Fault

CALL_LIMIT = 5.0  # seconds for one call; a right answer to a probe takes milliseconds
CHECK_LIMIT = 8.0  # seconds for all calls of a check, below the time a grader gives to a cell
PRINTED = 20_000  # characters kept of what a call prints


class Stopped(Exception):  # noqa: N818
    """Raised in a student's function when its time is up."""


class Forbidden(Exception):  # noqa: N818
    """Raised in a student's function when it uses a module that the exercise does without."""

    def __init__(self, module: str):
        super().__init__(f"`{module}` may not be used in this exercise: it would do the work. Write it yourself.")


@dataclass(frozen=True)
class Failure:
    """How a call failed.

    name: the type of the exception.  says: what happened, for the student.
    kind: "stub" if the function is not written yet, "stopped" if its time was up, "ended" if it ended
    Python itself, else "".
    """

    name: str
    says: str
    kind: str = ""


@dataclass(frozen=True)
class Reply:
    """What came of one call: a value or a failure, what was printed, which input was changed ("" if none)."""

    value: object = None
    failure: Failure | None = None
    printed: str = ""
    changed: str = ""


class Callee(Protocol):
    """The student's function, here or in another process."""

    def complaint(self, exercise: str, function: str, parameters: tuple[str, ...],
                  probes: tuple[Probe, ...]) -> str:
        """Why it cannot be called as the exercise does, in a sentence; "" if it can."""

    def call(self, probe: Probe, limit: float, forbidden: tuple[str, ...] = ()) -> Reply:
        """Call it as `probe` says, for at most `limit` seconds.  Raises nothing that the function raises.

        forbidden: modules that the function may not use.
        """

    def uses(self) -> tuple[str, ...]:
        """The global and enclosing names its code mentions."""


@dataclass(frozen=True)
class Local:
    """A function in this process, as a Callee."""

    function: object

    def complaint(self, exercise: str, function: str, parameters: tuple[str, ...],
                  probes: tuple[Probe, ...]) -> str:
        if not callable(self.function):
            return (f"`check` needs the function itself, as in `check(\"{exercise}\", {function})` without "
                    f"brackets after it; it was given {describe(self.function)}.")
        launched = any(probe.grid for probe in probes)
        if launched and not launch.is_kernel(self.function):
            return f"`{function}` is launched as a kernel: write `@triton.jit` in the line above its `def`, and no other one."
        if launched and not launch.obstacle() and (foreign := language.problem(self.function)):
            return foreign
        try:
            signature = inspect.signature(_written(self.function))
        except (TypeError, ValueError):
            return ""  # some built-ins have none; calling will tell
        for probe in probes:
            try:
                signature.bind(*probe.args, **probe.kwargs)
            except TypeError as e:
                wanted = ", ".join([*parameters[:len(probe.args)], *(f"{k}={v!r}" for k, v in probe.kwargs.items())])
                return (f"It is called as `{function}{'[grid]' * launched}({wanted})`, but your function is "
                        f"`{function}{signature}`: {e}.")
        return ""

    def call(self, probe: Probe, limit: float, forbidden: tuple[str, ...] = ()) -> Reply:
        return call(self.function, probe, limit, forbidden)

    def uses(self) -> tuple[str, ...]:
        return tuple(name for code in codes(self.function) for name in (*code.co_names, *code.co_freevars))


@dataclass(frozen=True)
class Outcome:
    """What one call gave, and the first difference from what was expected."""

    probe: Probe
    reply: Reply
    difference: Difference | None
    hidden: bool = False

    @property
    def passed(self) -> bool:
        return self.difference is None

    @property
    def unfinished(self) -> bool:
        return self.reply.failure is not None and self.reply.failure.kind == "stub"


def run_all(callee: Callee, probes: tuple[Probe, ...], hidden: tuple[Probe, ...] = (),
            forbidden: tuple[str, ...] = ()) -> tuple[Outcome, ...]:
    """The outcome of each probe, hidden ones last and only if anything passed before.

    Stops when CHECK_LIMIT seconds are over or Python ended, and leaves out the rest of a part in which a
    call hung.
    """
    outcomes, hung, deadline = (), set(), time.monotonic() + CHECK_LIMIT
    for is_hidden, probe in [*((False, p) for p in probes), *((True, p) for p in hidden)]:
        if probe.part in hung or (is_hidden and not any(o.passed for o in outcomes)):
            continue
        reply = callee.call(probe, min(CALL_LIMIT, deadline - time.monotonic()), forbidden)
        outcomes += (Outcome(probe, reply, _difference(probe, reply), is_hidden),)
        kind = reply.failure.kind if reply.failure else ""
        if kind == "ended":
            break
        if kind == "stopped":
            hung.add(probe.part)
    return outcomes


def _difference(probe, reply):
    if reply.failure:
        return Difference("call", reply.failure.says)
    if reply.changed:
        return Difference("input", f"It changed its input: `{reply.changed}` is not what it was before the call. "
                                   "Work on a copy or a new array.")
    try:
        return compare(probe.expected, reply.value)
    except Exception:  # noqa: BLE001  an object of the student's own may answer any question with an error
        return Difference("kind", f"It returned a value of type {type(reply.value).__name__}, which cannot be "
                                  f"compared with {describe(probe.expected)}.")


def carry_out(function, probe: Probe):
    """What `function` gives for `probe`, on the probe's own arguments; raises what it raises."""
    if probe.grid and launch.is_kernel(function):
        function = launch.as_function(function, probe.grid, probe.written)
    if probe.device:
        with modules.on(probe.device):
            return _carry_out(function, probe.mapped(lambda value: modules.tensor(value, probe.device)))
    return _carry_out(function, probe)


def _carry_out(function, probe):
    value = function(*probe.args, **probe.kwargs)
    if not probe.steps:
        return _as_data(value, probe)
    return tuple(_as_data(_step(value, *step, probe), probe) for step in probe.steps)


def _as_data(value, probe):
    return _snapshot(modules.data(value) if probe.device else value)


def _step(value, name, given, probe):
    if probe.device and name in modules.STEPS:
        return modules.STEPS[name](value, *(given or {}).values())
    return getattr(value, name) if given is None else getattr(value, name)(*given.values())


def copied(probe: Probe) -> Probe:
    """The probe with copies of its inputs, so that a function that changes them cannot spoil the next call."""
    return probe.mapped(_fresh)


def call(function, probe: Probe, limit: float = CALL_LIMIT, forbidden: tuple[str, ...] = ()) -> Reply:
    """Call `function` on copies of the probe's inputs, for at most `limit` seconds, without the modules in `forbidden`.

    Catches what it prints and raises, KeyboardInterrupt excepted.
    """
    own = copied(probe)
    printed = _Kept()
    value = failure = None
    try:
        with (contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), np.errstate(),
              warnings.catch_warnings(), _without(forbidden), _time_limit(limit)):
            value = carry_out(function, own)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # SystemExit too: a student's `exit()` is an answer like another
        kind = "stub" if _is_own_stub(e, function) else "stopped" if isinstance(e, Stopped) else ""
        failure = Failure(name_of_error(e), _explain(e, function), kind)
    changed = "" if failure else _changed(function, probe, own)
    return Reply(value, failure, printed.getvalue(), changed)


def name_of_error(error: BaseException) -> str:
    """The name of the exception's type; of a fault of a kernel also what it did where, so that two can be told apart."""
    return error.sign if isinstance(error, Fault) else type(error).__name__


class _Kept(io.StringIO):
    """A stream whose text is still there after a function closed it, and that never grows large."""

    def close(self):
        pass

    def write(self, text):
        super().write(str(text)[:max(0, PRINTED - self.tell())])
        return len(text)


def _snapshot(value):
    """The value as it is now: a function may return the same list or buffer again and change it."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    return copy.deepcopy(value) if isinstance(value, list | tuple) else value


def _fresh(value):
    if isinstance(value, np.ndarray):
        return value.copy() if value.flags.c_contiguous else strided(value)
    return copy.deepcopy(value)


def _changed(function, probe, own):
    """The name of the first array that is not what it was and that it does not have to write, or ""."""
    names = [*_parameters(function, len(probe.args)), *probe.kwargs,
             *(name for _, given in probe.steps for name in given or ())]
    for i, (name, old, new) in enumerate(zip(names, probe.inputs(), own.inputs())):
        if (isinstance(old, np.ndarray) and i not in probe.written
                and not np.array_equal(old, new, equal_nan=old.dtype.kind in "fc")):
            return name
    return ""


def _parameters(function, count):
    try:
        names = list(inspect.signature(_written(function)).parameters)[:count]
    except (TypeError, ValueError):
        names = []
    return names if len(names) == count else [f"argument {i + 1}" for i in range(count)]


@contextlib.contextmanager
def _time_limit(seconds: float):
    """Raise Stopped in the block after `seconds`.  No limit off the main thread or on Windows."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        raise Stopped

    if seconds <= 0:
        raise Stopped
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def module_of(name: str, among: tuple[str, ...]) -> str:
    """Which of the modules `among` the module `name` is, or lies in; "" if none."""
    return next((module for module in among if name == module or name.startswith(module + ".")), "")


@contextlib.contextmanager
def _without(forbidden: tuple[str, ...]):
    """Raise Forbidden in the block when a function of one of the modules `forbidden` is called.

    A module that is imported and not used does no harm.
    """
    def watch(frame, event, arg):
        name = frame.f_globals.get("__name__") if event == "call" else getattr(arg, "__module__", None)
        if isinstance(name, str) and event in ("call", "c_call") and (module := module_of(name, forbidden)):
            raise Forbidden(module)

    # A module that was never imported cannot be used, and watching slows down.
    loaded = any(module in sys.modules for module in forbidden)
    previous = sys.getprofile()
    sys.setprofile(watch if loaded else previous)
    try:
        yield
    finally:
        sys.setprofile(previous)


def stopped_says() -> str:
    """What to say of a call whose time was up."""
    return (f"It was stopped: a call may take {CALL_LIMIT:g} seconds, all calls of a check {CHECK_LIMIT:g}. "
            "Most often a loop never ends.")


def _explain(error, function) -> str:
    if _is_stub(error):
        if not _is_own_stub(error, function):
            return f"It calls `{name_of(_innermost(error))}`, which is not written yet. Complete that one first."
        return "Not written yet. Replace `raise NotImplementedError()` with your code."
    if isinstance(error, Stopped):
        text = stopped_says()
    elif isinstance(error, RecursionError):
        text = "It called itself until Python stopped it (RecursionError): the recursion has no end."
    elif isinstance(error, Forbidden | Fault | launch.Missing):
        text = str(error)
    elif isinstance(error, SystemExit):
        text = "It called `exit()`, which would end the notebook. Use `return`."
    else:
        message = _message(error)
        text = f"It raised {type(error).__name__}" + (f": {message}" if message else ".")
    return text + _at_line(error)


def _message(error):
    try:
        return str(error)[:300]
    except Exception:  # noqa: BLE001  an exception of the student's own may fail to print
        return ""


def _is_stub(error):
    return isinstance(error, NotImplementedError) and not _message(error)


def _is_own_stub(error, function):
    """True if `function`, or a method of the class `function`, is what is not written yet."""
    if not _is_stub(error):
        return False
    raised = _innermost(error)
    if launch.is_kernel(function):  # what the interpreter runs is made of the same lines
        return (raised.co_filename, raised.co_name) == (function.fn.__code__.co_filename, function.fn.__name__)
    # `is`: stubs look alike, and so code of different classes may be equal.
    return any(raised is code for code in codes(function))


def _innermost(error):
    """The code of the student's function in which `error` was raised, or else of where it was raised."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return ([code for code in codes if _is_own(code.co_filename)] or codes)[-1]


def _written(function):
    """The function itself; of a kernel, what stands under its `@triton.jit`."""
    return function.fn if launch.is_kernel(function) else function


def codes(function):
    """The code of a function, of a kernel, or of the methods of a class."""
    found = vars(function).values() if isinstance(function, type) else [_written(function)]
    return [f.__code__ for f in found if hasattr(f, "__code__")]


def _own_frames(error):
    """The frames of the student's code, not those inside NumPy, Python's library or cnnlab."""
    return [f for f in traceback.extract_tb(error.__traceback__) if _is_own(f.filename)]


def _is_own(filename):
    return not (filename.startswith(str(Path(__file__).parent)) or "site-packages" in filename
                or f"{os.sep}lib{os.sep}python" in filename)


def _at_line(error):
    frames = _own_frames(error)
    return f"\nThe line: {frames[-1].line}" if frames and frames[-1].line else ""
