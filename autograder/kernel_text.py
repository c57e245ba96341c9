"""Take a kernel out of a submitted notebook as text, to run it where nothing else of the student's is.

A kernel is judged by what the watch sees of it (cnnlab.watch), and in the student's own process the watch could be
switched off.  What is in Triton's language (cnnlab.language) cannot do that, or anything but compute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nbformat import NotebookNode

from cnnlab.language import constants, kernels, problem_of_text

HEADER = "from cnnlab.kernels import tl, triton\n"


def kernel_text(cells: Iterable[NotebookNode], name: str) -> tuple[str, str]:
    """The source of the kernel `name`, and of what it uses, as the code in `cells` defines them; and "".

    Or "" and a sentence on what stands against it: there is none, or it is not Triton's language.
    """
    texts, functions, values = {}, {}, {}
    for cell in cells:
        source = _plain(cell.source) if cell.cell_type == "code" else ""
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for found, there in ((kernels(tree), functions), (constants(tree), values)):
            for key, node in found.items():
                functions.pop(key, None), values.pop(key, None)
                there[key] = node
                texts[key] = _text(source, node)
    if name not in functions:
        return "", (f"No cell before this one defines the kernel `{name}`: it takes `@triton.jit` alone on one line, and "
                    f"`def {name}(…)` on the next.")
    wanted, todo = {}, [name]
    while todo:
        one = todo.pop()
        wanted[one] = None
        if one in values:
            continue
        if foreign := problem_of_text(functions[one], {*functions, *values}):
            return "", foreign
        todo += [n.id for n in ast.walk(functions[one]) if isinstance(n, ast.Name) and n.id not in wanted
                 and n.id in {*functions, *values}]
    ordered = sorted(wanted, key=lambda key: key in functions)  # constants first
    return "\n\n".join([HEADER, *(texts[key] for key in ordered)]) + "\n", ""


def _plain(source):
    """The source without lines for IPython."""
    return "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())


def _text(source, node):
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join(source.splitlines()[first - 1:node.end_lineno])
