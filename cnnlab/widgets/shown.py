"""What a notebook shows of a widget: itself where it can live, its state for the website, a still figure elsewhere."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cnnlab.notebook import quick

FOLDER = Path(__file__).parent  # the modules, in JavaScript
MIME = "application/vnd.cnnlab.widget+json"
LIVE = "application/vnd.jupyter.widget-view+json"
STILL = "CNNLAB_STILL"  # set in the environment of a kernel whose outputs are read later, when it is gone


class Widget:
    """A widget: its module in JavaScript, its state, its still figure.

    Displayed by Jupyter it answers to mouse, finger and keyboard, if anywidget is installed; `state` is then what the
    reader made of it.  draw(state) returns the still figure.
    """

    def __init__(self, module: str, state: dict, draw: Callable, words: str):
        self.module, self.words = module, words
        self._state, self._draw, self._live = state, draw, None

    @property
    def state(self) -> dict:
        """The numbers it shows, as plain lists, ints and strings."""
        return self._state if self._live is None else self._live.state

    def figure(self):
        """The still figure, by Matplotlib: the widget as it was made."""
        return self._draw(self._state)

    def __repr__(self):
        return f"<{self.words}>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        if quick():  # nobody is looking
            return {"text/plain": repr(self)}, {}
        bundle = {"text/plain": repr(self), "image/png": _png(self.figure()),
                  MIME: {"module": self.module, "state": self._state}}
        if self._live is None and _in_kernel() and not os.environ.get(STILL):
            self._live = _alive(self.module, self._state)
        if self._live is not None:
            bundle[LIVE] = self._live._repr_mimebundle_()[0][LIVE]
        return bundle, {"image/png": {"alt": self.words}}


@cache
def source(module: str) -> str:
    """A module with the ones it imports inside it, as anywidget needs it: it has no folder to import from."""
    taken = {}

    def take(name):
        text = (FOLDER / f"{name}.js").read_text("utf-8")
        for part in re.findall(r'^import .* from "\./(\w+)\.js";$', text, re.MULTILINE):
            if part not in taken:
                taken[part] = None  # its place, before those that it imports itself
                taken[part] = take(part)
        return re.sub(r'^import (\{.*\}) from "\./(\w+)\.js";$', r"const \1 = \2Module();", text, flags=re.MULTILINE)

    text = take(module)
    for name, body in taken.items():
        names = ", ".join(re.findall(r"^export (?:function|const) (\w+)", body, re.MULTILINE))
        body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
        text += f"\nfunction {name}Module() {{\n{body}\nreturn {{ {names} }};\n}}\n"
    return text


def _in_kernel():
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _alive(module, numbers):
    """The anywidget that shows the module, or None where anywidget is missing."""
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        return None

    class Live(anywidget.AnyWidget):
        _esm = source(module)
        state = traitlets.Dict().tag(sync=True)

    return Live(state=numbers)


def _png(figure):
    """A figure in base64, drawn as the kernel draws all its figures."""
    import matplotlib.pyplot as plt
    from IPython import get_ipython

    plt.close(figure)
    shell = get_ipython()
    data = shell.display_formatter.format(figure, include=["image/png"])[0] if shell else {}
    if "image/png" in data:
        return data["image/png"]
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return base64.b64encode(out.getvalue()).decode()
