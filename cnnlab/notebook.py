"""Whether anybody looks at a notebook, and what they see when a cell stops: a sentence, where one suffices."""

from __future__ import annotations

import os
import traceback


def quick() -> bool:
    """True while nbgrader grades or validates: nobody looks, so draw nothing that moves, train something tiny."""
    return bool(os.environ.get("NBGRADER_EXECUTION"))


def validating() -> bool:
    """True while a student has nbgrader's *Validate* run the notebook."""
    return os.environ.get("NBGRADER_EXECUTION") == "validate"


def install(shell) -> None:
    """Let the IPython `shell` explain unfinished exercises and names that were never defined."""
    shell.set_custom_exc((NotImplementedError, NameError), _explain)


def _explain(shell, etype, value, tb, tb_offset=None):
    message = _unfinished(value, tb) if issubclass(etype, NotImplementedError) else _undefined(value, tb)
    if message is None:
        shell.showtraceback((etype, value, tb), tb_offset=tb_offset)
        return None
    shell._showtraceback(etype, message, [message])
    return [message]


def _unfinished(value, tb):
    if "raise NotImplementedError" not in (traceback.extract_tb(tb)[-1].line or ""):
        return None
    *_, (frame, _) = traceback.walk_tb(tb)
    name = name_of(frame.f_code)
    what = "The exercise" if "<" in name else f"`{name}`"
    return f"Not yet: {what} is not written. Complete its cell, run it, then run this one again."


def name_of(code) -> str:
    """What a reader calls the function with this code, or the class whose `__init__` it is."""
    return code.co_qualname.rpartition("<locals>.")[2].removesuffix(".__init__")


def _undefined(value, tb):
    line = traceback.extract_tb(tb)[-1].line or ""
    if not line.startswith("check("):
        return None
    return (f"`{value.name}` is not defined. Run the cell that defines it, above this one; if that cell "
            "is gone, write the function again under this name.")
