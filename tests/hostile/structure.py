"""Attacks and accidents in the notebook's structure: cells, ids, points, metadata, outputs, and no notebook at all."""

import copy
import json

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell

from tests.hostile.case import RIGHT, WRONG, attack, cell

CHECK = "check_brighten"


def structure(name, what, **how):
    """A wrong answer in a notebook that `how["make"]` spoils."""
    return attack(name, what, "", **how)


def tag(*tags):
    def make(notebook, fill):
        cell(notebook, CHECK).metadata.tags = list(tags)
    return make


def copied_graded_cell(notebook, fill):
    notebook.cells.append(copy.deepcopy(cell(notebook, CHECK)))
    notebook.cells[-1].id = "a-copy"


def copied_with_number(notebook, fill):
    original = cell(notebook, CHECK)
    twin = copy.deepcopy(original)
    twin.id, twin.source = "a-copy", "1.0"
    notebook.cells.insert(notebook.cells.index(original), twin)


def same_ids(notebook, fill):
    for one in notebook.cells:
        one.id = "same"


def deleted_check(notebook, fill):
    notebook.cells.remove(cell(notebook, CHECK))


def changed_check(notebook, fill):
    cell(notebook, CHECK).source = "1.0"


def points(value):
    def make(notebook, fill):
        cell(notebook, CHECK).metadata.nbgrader.points = value
    return make


def flags(**values):
    def make(notebook, fill):
        cell(notebook, CHECK).metadata.nbgrader.update(values)
    return make


def forged_outputs(notebook, fill):
    one = cell(notebook, CHECK)
    one.outputs = [new_output("execute_result", {"text/plain": "1.0"}, execution_count=3)]
    one.metadata.tags, one.execution_count = ["skip-execution"], 3


def cell_type(kind):
    def make(notebook, fill):
        one = cell(notebook, CHECK)
        one.cell_type = kind
        one.pop("outputs"), one.pop("execution_count")
    return make


def solution_is_graded(notebook, fill):
    about = cell(notebook, "brighten").metadata.nbgrader
    about.grade, about.points = True, 100


def extra_graded_cell(notebook, fill):
    extra = new_code_cell("100.0")
    extra.metadata.nbgrader = {"grade": True, "grade_id": "extra", "locked": True, "points": 100,
                               "schema_version": 3, "solution": False, "task": False}
    notebook.cells.append(extra)


def forged_checksums(notebook, fill):
    one = cell(notebook, CHECK)
    one.source = "1.0"
    one.metadata.nbgrader.checksum = "0" * 32
    one.metadata.nbgrader.locked = False


def exchanged_ids(notebook, fill):
    a, b = cell(notebook, CHECK), cell(notebook, "brighten")
    a.metadata, b.metadata = b.metadata, a.metadata


def kernelspec(name, language="python"):
    def make(notebook, fill):
        notebook.metadata.kernelspec = {"name": fill(name), "display_name": fill(name), "language": language}
    return make


def strange_metadata(notebook, fill):
    notebook.metadata = {"kernelspec": "python3", "language_info": ["python"], "celltoolbar": {"a": 1}}
    for one in notebook.cells:
        one.metadata["nbgrader"] = one.metadata.get("nbgrader", "yes")
        one.metadata["tags"] = "skip-execution"


def strange_cells(notebook, fill):
    text = json.loads(nbformat.writes(notebook))
    text["cells"] += [None, 3, {}, {"cell_type": "code"}, {"cell_type": "magic", "source": 3, "metadata": None},
                      {"cell_type": "code", "source": [1, None], "metadata": [], "outputs": "none"}]
    return json.dumps(text).encode()


def strange_outputs(notebook, fill):
    text = json.loads(nbformat.writes(notebook))
    for one in text["cells"]:
        if one["cell_type"] == "code":
            one["outputs"] = [{"output_type": "dream"}, {"output_type": "execute_result", "data": 3}, None]
    return json.dumps(text).encode()


def html(payload, kind="text/html"):
    """An output of that payload from a cell, and the same saved in the notebook as it was handed in."""
    def make(notebook, fill):
        source = f"from IPython.display import display\ndisplay({{{kind!r}: {fill(payload)!r}}}, raw=True)"
        one = new_code_cell(source)
        one.outputs = [new_output("display_data", {kind: fill(payload)})]
        notebook.cells.insert(1, one)
    return make


def markdown(payload):
    def make(notebook, fill):
        notebook.cells.insert(1, new_markdown_cell(fill(payload)))
        cell(notebook, "written_changed_input").source += "\n\n" + fill(payload)
        notebook.cells.insert(1, new_raw_cell(fill(payload)))
    return make


def html_in_the_report(notebook, fill):
    cell(notebook, "brighten").source = fill(
        WRONG + "brighten.__name__ = '<img src=x onerror=alert(\"@MARK@\")>'\n"
        "def brighten(image, amount):\n    print('<script>alert(\"@MARK@\")</script>')\n"
        "    raise ValueError('<svg onload=alert(\"@MARK@\")>')")


def script_in_metadata(notebook, fill):
    bad = fill("</title><script>alert('@MARK@')</script>")
    notebook.metadata.update(title=bad, authors=[{"name": bad}])
    notebook.metadata.language_info = {"name": bad, "pygments_lexer": bad, "mimetype": bad,
                                       "codemirror_mode": {"name": bad}}
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {
        "state": {bad: {"x": bad}}, "version_major": 2, "version_minor": 0}}
    for one in notebook.cells:
        one.metadata.tags = ["x\" onclick=\"alert('" + fill("@MARK@") + "')"]


def attachment(notebook, fill):
    one = new_markdown_cell("![a](attachment:a.svg) <a href=\"javascript:alert('" + fill("@MARK@") + "')\">b</a>")
    one.attachments = {"a.svg": {"image/svg+xml": fill("<svg onload=alert('@MARK@')>")}}
    notebook.cells.insert(1, one)


def raw(data):
    return lambda notebook, fill: data


def old_format(notebook, fill):
    source = [{"cell_type": "code", "input": text, "language": "python", "outputs": [], "metadata": {}}
              for text in (RIGHT, "1.0")]
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""},
                       "worksheets": [{"cells": source, "metadata": {}}]}).encode()


def enormous(notebook, fill):
    notebook.cells.insert(1, new_code_cell("x = 1"))
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text="x" * 60_000_000)]
    return nbformat.writes(notebook).encode()


def many_cells(notebook, fill):
    notebook.cells += [new_code_cell("pass") for _ in range(3000)]


def not_a_number(notebook, fill):
    text = nbformat.writes(notebook).replace('"points": 1.0', '"points": NaN')
    return text.replace('"nbformat_minor": 5', '"nbformat_minor": 1e400').encode()


SCRIPT = "<script>alert('@MARK@')</script>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload=\"alert('@MARK@')\"><script>alert('@MARK@')</script></svg>"
SLY = ("<img src=x onerror=\"alert('@MARK@')\"><iframe srcdoc=\"<script>alert('@MARK@')</script>\"></iframe>"
       "<a href=\"jAvAsCrIpT:alert('@MARK@')\">a</a>"
       "<form action=\"javascript:alert('@MARK@')\"><button>b</button></form>"
       "<object data=\"data:text/html,<script>alert('@MARK@')</script>\"></object>"
       "<math><mtext><table><mglyph><style><img src=x onerror=\"alert('@MARK@')\"></style></table></mtext></math>"
       "<details open ontoggle=\"alert('@MARK@')\">x</details><meta http-equiv=refresh content=\"0;url=//x/@MARK@\">")

CASES = [
    structure("skip_execution", "the graded cell has the tag skip-execution", make=tag("skip-execution")),
    structure("other_tags", "raises-exception, hide and parameters tags", make=tag(
        "raises-exception", "remove_cell", "parameters", "injected-parameters")),
    structure("copied_graded_cell", "the graded cell twice, with one grade_id", make=copied_graded_cell),
    structure("copied_with_number", "a copy of the graded cell that is a number", make=copied_with_number),
    structure("same_ids", "all cells have one id", make=same_ids),
    structure("deleted_check", "the graded cell is deleted", make=deleted_check),
    structure("changed_check", "the graded cell is a number", make=changed_check),
    structure("points_a_hundred", "the graded cell claims 100 points", make=points(100)),
    structure("points_strange", "points that are text", make=points("many")),
    structure("points_negative", "points below zero", make=points(-5)),
    structure("grade_flag_off", "the graded cell says that it is not graded", make=flags(grade=False)),
    structure("flags_strange", "flags that are text, and another schema", make=flags(
        grade="maybe", solution=[], locked=None, schema_version=99, grade_id=["x"])),
    structure("by_hand", "the graded cell says that a person grades it", make=flags(solution=True, task=True)),
    structure("forged_outputs", "a saved result in the graded cell, which is not to be run", make=forged_outputs),
    structure("graded_cell_is_markdown", "the graded cell is a markdown cell", make=cell_type("markdown")),
    structure("graded_cell_is_raw", "the graded cell is a raw cell", make=cell_type("raw")),
    structure("solution_is_graded", "the solution cell claims points", make=solution_is_graded),
    structure("extra_graded_cell", "a graded cell of the student's own", make=extra_graded_cell),
    structure("forged_checksums", "a changed graded cell with a checksum of its own", make=forged_checksums),
    structure("exchanged_ids", "solution and check have each other's metadata", make=exchanged_ids),
    structure("kernel_unknown", "a kernel that does not exist", make=kernelspec("matlab", "matlab")),
    structure("kernel_bash", "a kernel of another language", make=kernelspec("bash", "bash")),
    structure("kernel_path", "a kernel whose name leads elsewhere", make=kernelspec("../../@MARK@")),
    structure("strange_metadata", "metadata of the wrong types", make=strange_metadata),
    structure("strange_cells", "cells that are null, numbers and half a cell", make=strange_cells),
    structure("strange_outputs", "outputs of unknown types", make=strange_outputs),
    structure("html_output", "a script in an HTML output", make=html(SCRIPT + SLY)),
    structure("javascript_output", "a JavaScript output", make=html("alert('@MARK@')", "application/javascript")),
    structure("svg_output", "a script in an SVG picture", make=html(SVG, "image/svg+xml")),
    structure("markdown_output", "a script in a Markdown output", make=html(SCRIPT + SLY, "text/markdown")),
    structure("latex_output", "a script in a LaTeX output", make=html("$x$" + SCRIPT + SLY, "text/latex")),
    structure("odd_mime_output", "scripts in outputs of unusual types", make=html(
        "x\"><script>alert('@MARK@')</script>", "image/png")),
    structure("markdown_script", "scripts in markdown and raw cells and in the written answer",
              make=markdown(SCRIPT + "\n\n" + SLY + "\n\n[a](javascript:alert('@MARK@'))")),
    structure("html_in_the_report", "scripts in what the check shows: names, errors and prints",
              make=html_in_the_report),
    structure("script_in_metadata", "scripts in the title, the language and the tags", make=script_in_metadata),
    structure("attachment", "a script in an attachment of a markdown cell", make=attachment),
    structure("broken_json", "half a file", make=raw(b'{"cells": [{"cell_type": "code", "sou')),
    structure("empty_file", "an empty file", make=raw(b"")),
    structure("not_utf8", "bytes that are not UTF-8", make=raw(b'{"cells": [], "x": "\xff\xfe\xfa"}')),
    structure("deep_json", "a million brackets", make=raw(b"[" * 1_000_000)),
    structure("old_format", "notebook format 3, with a right answer and a number", make=old_format),
    structure("enormous", "a notebook of 60 MB", make=enormous),
    structure("many_cells", "three thousand cells", make=many_cells),
    structure("not_a_number", "NaN for points and an endless format number", make=not_a_number),
]
