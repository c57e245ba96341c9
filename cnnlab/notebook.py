"""What happens when a notebook cell stops: a sentence instead of a traceback, where one suffices."""

from __future__ import annotations

import traceback


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
    frame = traceback.extract_tb(tb)[-1]
    if "raise NotImplementedError" not in (frame.line or ""):
        return None
    what = f"`{frame.name}`" if frame.name.isidentifier() else "The exercise"
    return f"Not yet: {what} is not written. Complete its cell, run it, then run this one again."


def _undefined(value, tb):
    line = traceback.extract_tb(tb)[-1].line or ""
    if not line.startswith("check("):
        return None
    return (f"`{value.name}` is not defined. Run the cell that defines it, above this one; if that cell "
            "is gone, write the function again under this name.")
