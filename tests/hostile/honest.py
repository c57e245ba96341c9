"""Honest notebooks that look odd: right code, which has to get full points."""

import json

import nbformat

from tests.hostile.case import CONVOLUTION, RIGHT, add, cell, honest


def before(source):
    return lambda notebook, fill: add(notebook, source, before="brighten") and None


def after(source):
    return lambda notebook, fill: add(notebook, source, after="brighten") and None


def odd_cells(notebook, fill):
    add(notebook, "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.title('my own')", before="brighten")
    add(notebook, "1 / 0", before="brighten")
    add(notebook, "def broken(:", before="brighten")
    add(notebook, "brighten(np.eye(3), 0.1)")


def crlf(notebook, fill):
    for one in notebook.cells:
        one.source = one.source.replace("\n", "\r\n")


def older_format(notebook, fill):
    notebook.nbformat_minor = 2
    for one in notebook.cells:
        del one["id"]


def no_metadata(notebook, fill):
    for one in notebook.cells:
        one.metadata = nbformat.NotebookNode()
    notebook.metadata = nbformat.NotebookNode()


def source_as_lines(notebook, fill):
    """As written by tools that sort keys, indent with tabs and begin with a byte order mark."""
    return json.dumps(json.loads(nbformat.writes(notebook)), sort_keys=True, indent="\t").encode()


def saved_outputs(notebook, fill):
    one = cell(notebook, "check_brighten")
    one.outputs = [nbformat.v4.new_output("stream", name="stderr", text="an old warning")]
    one.execution_count = 17


def own_kernelspec(notebook, fill):
    notebook.metadata.kernelspec = {"name": "my-env", "display_name": "Python 3.11 (my-env)", "language": "python"}


def written_answer(notebook, fill):
    cell(notebook, "written_changed_input").source += (
        "\n\nIt changes the array of the caller, $x \\leftarrow x + a$; see <https://numpy.org> & `a < b`.")


def duplicate_before(notebook, fill):
    add(notebook, "def brighten(image, amount):\n    return image  # a first try", before="brighten")


CASES = [
    honest("names_in_other_scripts", "names and strings that are not ASCII", """
        def aufhellen(größe, Δ):
            '''明るさ — "Helligkeit" 🙂'''
            return np.clip(größe + Δ, 0, 1)
        print("ñandú ☀")
        def brighten(image, amount): return aufhellen(image, amount)
        """),
    honest("tabs", "tabs for indentation",
           "def brighten(image, amount):\n\tif amount:\n\t\tpass\n\treturn np.clip(image + amount, 0, 1)\n"),
    honest("crlf", "lines that end as on Windows", make=crlf),
    honest("very_long_cell", "two thousand lines of code", RIGHT + "\n".join(f"x{i} = {i}" for i in range(2000))),
    honest("typed", "type hints, a dataclass, annotations of the future", """
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import Protocol
        @dataclass(frozen=True)
        class Range:
            low: float = 0.0
            high: float = 1.0
        def brighten(image: np.ndarray[Missing], amount: float, *, within: Range = Range()) -> np.ndarray:
            return np.clip(image + amount, within.low, within.high)
        """),
    honest("top_level_await", "top-level await and asyncio.gather", """
        import asyncio
        async def limit(): await asyncio.sleep(0.01); return 0, 1
        (LOW, HIGH), _ = await asyncio.gather(limit(), limit())
        def brighten(image, amount): return np.clip(image + amount, LOW, HIGH)
        """),
    honest("magics", "magics and shell commands", RIGHT, make=before(
        "%matplotlib inline\n%time sum(range(1000))\n!ls\nfiles = !pwd\n%timeit -n1 -r1 pass")),
    honest("capture", "a cell magic around the solution", "%%time\n" + RIGHT,
           make=before("%%capture out\nprint('hidden')")),
    honest("slow", "two seconds over all calls", """
        import time
        def brighten(image, amount):
            time.sleep(0.15)
            return np.clip(image + amount, 0, 1)
        """),
    honest("cached", "lru_cache over bytes, and counters that are global", """
        from functools import lru_cache
        CALLS = 0
        @lru_cache
        def work(data, shape, amount):
            return np.clip(np.frombuffer(data).reshape(shape) + amount, 0, 1)
        def brighten(image, amount):
            global CALLS
            CALLS += 1
            return work(image.tobytes(), image.shape, float(amount))
        """),
    honest("exceptions_inside", "exceptions for control flow", """
        def brighten(image, amount):
            try:
                try:
                    image[len(image)]
                finally:
                    pass
            except IndexError as e:
                try:
                    raise KeyError("x") from e
                except KeyError:
                    return np.clip(image + amount, 0, 1)
        """),
    honest("own_names", "variables called score, checks, hidden and probe", RIGHT + """
score = checks = hidden = probe = expected = judge = compare = report = 0
"""),
    honest("shadowed_builtins", "sum, max, list and id are its own variables", RIGHT + """
sum = max = list = id = type = len = range = input = 5
"""),
    honest("figures_and_errors", "cells of its own with figures and errors", make=odd_cells),
    honest("seeds", "seeds and random numbers", """
        import random
        random.seed(1); np.random.seed(2)
        NOISE = np.random.default_rng(3).random(3)
        def brighten(image, amount):
            np.random.seed(4)
            return np.clip(image + amount + 0 * NOISE[0], 0, 1)
        """),
    honest("patches_its_own_class", "monkeypatching a class of its own, and print only where it is used", """
        class Tool: pass
        Tool.limit = staticmethod(lambda x: np.clip(x, 0, 1))
        def brighten(image, amount):
            print = lambda *a: None
            print("quiet")
            return Tool.limit(image + amount)
        """),
    honest("star_imports", "from numpy import *", "from numpy import *\nfrom math import *\n" + RIGHT),
    honest("missing_import", "a try around an import that is not there",
           "try:\n    import not_installed_here\nexcept ImportError:\n    pass\n" + RIGHT),
    honest("older_format", "saved in format 4.2, without ids", make=older_format),
    honest("no_metadata", "cell and notebook metadata are stripped", make=no_metadata),
    honest("reformatted_file", "JSON with sorted keys and tabs", make=source_as_lines),
    honest("saved_outputs", "outputs of an earlier run with warnings", make=saved_outputs),
    honest("own_kernelspec", "the kernel is called after the student's environment", make=own_kernelspec),
    honest("written_answer", "the written question is answered, with formulas and links", make=written_answer),
    honest("defined_twice", "a first try in an earlier cell", make=duplicate_before),
    honest("defined_later", "defined wrong, and again, right, in a cell before the check",
           "def brighten(image, amount):\n    return image\n", make=after(RIGHT)),
    honest("match_and_walrus", "match, walrus and f-strings", """
        def brighten(image, amount):
            match image.shape:
                case (h, w) if (n := h * w) >= 0:
                    f"{n=}"
            return np.clip(image + amount, 0, 1)
        """),
    honest("threads_inside", "a thread pool inside", """
        from concurrent.futures import ThreadPoolExecutor
        def brighten(image, amount):
            with ThreadPoolExecutor(2) as pool:
                rows = list(pool.map(lambda row: np.clip(row + amount, 0, 1), image))
            return np.array(rows)
        """),
    honest("processes_inside", "a process pool inside", """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        def work(row, amount): return np.clip(row + amount, 0, 1)
        def brighten(image, amount):
            with ProcessPoolExecutor(2, get_context("fork")) as pool:
                return np.array(list(pool.map(work, image, [amount] * len(image))))
        """),
    honest("unused_imports", "imports that it does not use",
           "import scipy.signal, sklearn\nfrom time import *\n" + RIGHT),
    honest("progress_bar", "a progress bar and coloured text", """
        import sys, time
        for i in range(2000):
            sys.stdout.write(f"\\r{i}"); sys.stdout.flush()
        print("\\x1b[32mdone 🙂 \\x1b[0m")
        def brighten(image, amount): return np.clip(image + amount, 0, 1)
        """),
    honest("main_guard", "code under if __name__, and a sys.exit that is not reached", """
        import sys
        def brighten(image, amount): return np.clip(image + amount, 0, 1)
        def main(): print(brighten(np.eye(2), 0.5))
        if __name__ == "__main__":
            main()
            if sys.argv is None: sys.exit(1)
        """),
    honest("files_inside", "a temporary file inside", """
        import tempfile
        def brighten(image, amount):
            with tempfile.TemporaryFile() as f:
                np.save(f, image); f.seek(0)
                return np.clip(np.load(f) + amount, 0, 1)
        with open("notes.txt", "w") as f:
            f.write("mine")
        """),
    honest("numpy_scalar", "window_response as a NumPy scalar, everything else solved", """
        def window_response(window, kernel, bias):
            return np.float64(np.sum(window * kernel)) + bias
        """, slug=CONVOLUTION, exercise="window_response", full=True),
    honest("numpy_integers", "separable_cost as a list of NumPy integers, everything else solved", """
        def separable_cost(height, width, kernel_height, kernel_width):
            rows, columns = np.int64(height - kernel_height + 1), np.int64(width - kernel_width + 1)
            return [rows * columns * kernel_height * kernel_width,
                    rows * width * kernel_height + rows * columns * kernel_width]
        """, slug=CONVOLUTION, exercise="separable_cost", full=True),
    honest("zero_dimensional", "window_response as a 0-dimensional array, everything else solved", """
        def window_response(window, kernel, bias):
            return np.array(np.tensordot(window, kernel, 2) + bias)
        """, slug=CONVOLUTION, exercise="window_response", full=True),
]
