"""Attacks on what cleans, stores and renders the notebook afterwards: texts that are slow or cannot be written."""

import json

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.hostile.case import attack, cell


def text(name, what, source):
    """A markdown cell and the written answer hold `source`; so does a saved output."""
    def make(notebook, fill):
        notebook.cells.insert(1, new_markdown_cell(source))
        cell(notebook, "written_changed_input").source += "\n\n" + source
    return attack(name, what, "", make=make)


def display(name, what, kind, expression):
    """A cell displays the value of `expression` as that kind of data."""
    return attack(name, what, f"from IPython.display import display\ndisplay({{{kind!r}: {expression}}}, raw=True)\n")


def lone_surrogates(notebook, fill):
    data = json.loads(nbformat.writes(notebook))
    data["cells"][0]["source"] = "print('\ud800')  # \udfff"
    data["cells"].append({"cell_type": "markdown", "id": "s", "metadata": {}, "source": "\ud800 \udc80"})
    return json.dumps(data).encode()


def null_characters(notebook, fill):
    cell(notebook, "brighten").source += "\n# \x00 \x1b \x7f \u2028 \u202e \ufeff"
    notebook.cells.insert(1, new_markdown_cell("\x00 \x0b \ufffe \u202e"))
    notebook.cells.insert(1, new_code_cell("print('\\x00 \\x0b \\ufffe')"))


def written_is_code(notebook, fill):
    one = cell(notebook, "written_changed_input")
    one.cell_type, one.source = "code", "2.0"
    one.outputs, one.execution_count = [new_output("execute_result", {"text/plain": "2.0"})], 1


def pictures_in_every_cell(notebook, fill):
    source = "from IPython.display import display\ndisplay({'image/png': 'A' * 12_000_000}, raw=True)"
    notebook.cells += [new_code_cell(source) for _ in range(60)]


CASES = [
    text("markdown_brackets", "a hundred thousand opening brackets in markdown", "[" * 100_000),
    text("markdown_stars", "emphasis that could begin or end anywhere", "*a_ **b__ " * 20_000),
    text("markdown_quotes", "quotations and lists nested five thousand deep", "> " * 5000 + "x\n\n" + "\n".join(
        " " * i + "- x" for i in range(1000))),
    text("markdown_backticks", "runs of backticks that never match", "".join("`" * i + " " for i in range(1500))),
    text("markdown_links", "definitions and links that refer to one another", "\n".join(
        f"[{i}]: <{i + 1}>\n[{i}][{i}] ![{i}][{i}" for i in range(5000))),
    text("markdown_html", "fifty thousand nested tags that are not closed", "<div><b><a href='x'>" * 50_000),
    text("markdown_comments", "comments and declarations that are not closed", "<!-- <![CDATA[ <? <!A " * 20_000),
    text("markdown_formulas", "formulas that are not closed", "$ \\begin{a} \\[ $$ \\( " * 20_000),
    text("markdown_table", "a table of half a million cells", "|a" * 1000 + "|\n" + "|-" * 1000
         + "|\n" + ("|a" * 1000 + "|\n") * 500),
    text("long_answer", "a written answer of ten megabytes", "word " * 2_000_000),
    display("nested_html", "an HTML output with a million nested tags", "text/html", "'<div>' * 1_000_000"),
    display("html_attributes", "an HTML tag with two hundred thousand attributes", "text/html",
            "'<a ' + ' '.join(f'a{i}=\"&lt;{i}\"' for i in range(200_000)) + '>'"),
    display("html_entities", "a million entities", "text/html", "'&lt;&#60;&amp' * 300_000"),
    display("markdown_shown", "slow markdown as an output", "text/markdown", "'[' * 100_000 + '*a_ ' * 20_000"),
    display("latex_shown", "slow LaTeX as an output", "text/latex", "'$' + '{' * 500_000"),
    attack("ansi_colours", "a million colour codes in printed text and in a traceback", """
        print("\\x1b[31m\\x1b[1mx\\x1b[0m" * 20_000)
        raise ValueError("\\x1b[38;5;1mx" * 50_000)
        """),
    attack("carriage_returns", "a progress bar of a million steps on one line", """
        for i in range(1_000_000):
            print(f"\\r{i}", end="")
        """),
    attack("slow_source", "code that is slow to colour", None, make=lambda notebook, fill: notebook.cells.append(
        new_code_cell("x = '''" + "\\" * 100_001 + "{{{" * 30_000 + "\n" + "f'{f\"{" * 20_000)) and None),
    attack("long_source", "a cell with eight megabytes of code", "x = [" + "1," * 4_000_000 + "]\n"),
    attack("lone_surrogates", "half characters that cannot be written as UTF-8, in sources", make=lone_surrogates),
    attack("prints_surrogates", "half characters that cannot be written as UTF-8, in outputs", """
        from IPython.display import display
        print("\\ud800 \\udc80")
        display({"text/html": "\\ud800", "text/plain": "\\udfff"}, raw=True)
        def brighten(image, amount):
            print("\\ud800")
            raise ValueError("\\udc80")
        """),
    attack("null_characters", "null and control characters in sources and outputs", make=null_characters),
    attack("written_is_code", "the written answer has become a code cell that gives itself points",
           make=written_is_code),
    attack("pictures_in_every_cell", "sixty cells with a picture of twelve megabytes each",
           make=pictures_in_every_cell),
]
