"""The learner's own layers, taken out of the notebooks they were written in."""

from __future__ import annotations

import ast
import json
import linecache
from pathlib import Path
from types import SimpleNamespace

from cnnlab import layers as library

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def layers(wanted: dict[str, list[str]], folder=".", **more) -> SimpleNamespace:
    """The layers of `cnnlab.layers` with some replaced by the learner's own.

    wanted: names by notebook, as in {"05_backpropagation": ["Conv2d"]}; the notebooks lie in `folder`.
    more: classes of the running notebook, as in Linear=Linear.
    Raises OwnError, with one sentence, if a notebook is missing, an exercise not written, or a name not there.
    """
    taken = {name: value for slug, names in wanted.items() for name, value in load(slug, names, folder).items()}
    return SimpleNamespace(**{name: getattr(library, name) for name in library.__all__} | taken | more)


class OwnError(Exception):
    """Something a learner can mend, said in one sentence."""

    def _render_traceback_(self):  # IPython shows this in the place of a traceback
        return [str(self)]


def load(slug: str, names: list[str], folder=".") -> dict[str, object]:
    """What the notebook `slug` defines under each of `names`.

    The cells of its exercises are run, in order, and of the others the imports, functions and classes, in a namespace
    of their own.  Raises OwnError.
    """
    path = Path(folder) / f"{slug}.ipynb"
    namespace, failures = {"__name__": f"own_{slug}"}, []
    for number, source, is_exercise in _cells(path):
        where = f"<{path.name}, cell {number}>"
        try:
            tree = ast.parse(source)
            for name in names:
                if any(_is_unwritten(node, name) for node in tree.body):
                    raise OwnError(f"`{name}` is not written yet in {path.name}: complete its cell there, and save.")
            if not is_exercise:
                tree.body = [node for node in tree.body if isinstance(node, DEFINITIONS)]
            run(source, tree, where, namespace)
        except OwnError:
            raise
        except Exception as e:  # noqa: BLE001  a cell may fail in any way, and may not be needed
            failures.append(f" Its cell {number} does not run ({type(e).__name__}: {e}).")
    for name in names:
        if name not in namespace:
            raise OwnError(f"`{name}` is not in {path.name}.{''.join(failures[:1])}")
    return {name: namespace[name] for name in names}


def run(source: str, tree: ast.Module, where: str, namespace: dict) -> None:
    """Run the code of a cell, or what is left of it in `tree`, in `namespace`; `where` names it in tracebacks."""
    # As a notebook does: tracebacks show the lines, and Triton's interpreter reads the source of a kernel.
    linecache.cache[where] = len(source), None, source.splitlines(keepends=True), where
    exec(compile(tree, where, "exec"), namespace)


def _cells(path):
    """(number, source, whether it belongs to an exercise) of the code cells, counted from 1."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = [("".join(c["source"]), bool(c["metadata"].get("nbgrader", {}).get("solution")))
                for c in notebook["cells"] if c["cell_type"] == "code"]
    except FileNotFoundError:
        raise OwnError(f"There is no {path.name} beside this notebook, in {path.parent.resolve()}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OwnError(f"{path.name} cannot be read as a notebook.") from None
    return [(number, *cell) for number, cell in enumerate(code, 1)]


def _is_unwritten(node, name):
    """Is this the class or function `name`, with a part still as the exercise came: it raises and returns nothing?"""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name != name:
        return False
    functions = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
    return any("raise NotImplementedError()" in ast.unparse(f)
               and not any(isinstance(n, ast.Return) for n in ast.walk(f)) for f in functions)
