"""cnnlab: what the notebooks of the course import.

`check` and `hint` belong to the exercises, `drill` and `answer` to practice; `data`, `plots`, `animation` and `widgets`
to the figures.  `summary` is the table of a PyTorch network.  `progress` shows what is done, `reset` gives a stub back.
`doctor` says what works on this machine.  All but `doctor` need NumPy, and nothing else to be imported.
"""

import sys
from typing import TYPE_CHECKING

from cnnlab.doctor import doctor

if TYPE_CHECKING:
    from cnnlab.checks import check, hint
    from cnnlab.drills import answer, drill
    from cnnlab.overview import progress
    from cnnlab.stubs import reset
    from cnnlab.tables import summary

__all__ = ["answer", "check", "doctor", "drill", "hint", "progress", "reset", "summary"]

_MODULES = {"check": "checks", "hint": "checks", "answer": "drills", "drill": "drills", "progress": "overview",
            "reset": "stubs", "summary": "tables"}


def __getattr__(name):
    """Import on first use, so that the doctor can still say what is wrong where NumPy is missing or broken."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = getattr(import_module(f"cnnlab.{_MODULES[name]}"), name)
    return globals()[name]


if "IPython" in sys.modules:
    from IPython import get_ipython

    from cnnlab import notebook

    if get_ipython() is not None:
        notebook.install(get_ipython())
