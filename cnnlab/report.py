"""Show a verdict: as HTML in Jupyter, as plain text in a terminal.

Both say the same in the same order: the score, the call, what was expected and returned,
where they differ, and the cause if it is known.  Neither needs colour to be read.
"""

from __future__ import annotations

import html as _html
import re
import sys

import numpy as np

from cnnlab import modules

PLANES = 4  # planes of an input with more than two dimensions, shown one by one
SMALL = 8  # rows and columns of a table; larger arrays are cut around the first difference

HEADINGS = {
    "call": "the call failed", "input": "the input was changed", "kind": "wrong kind of result",
    "shape": "wrong shape", "dtype": "wrong dtype", "finite": "not finite", "values": "wrong values"}


class Markdown(str):
    """Text that Jupyter renders as Markdown."""

    def _repr_markdown_(self):
        return str(self)


def in_jupyter() -> bool:
    """True in a Jupyter kernel, where the value of a cell is shown richly."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def text(verdict) -> str:
    """The report as plain text."""
    lines = [_headline(verdict)]
    if len(verdict.parts) > 1:
        lines += [f"  {'✓' if ok else '✗'} {name}" for name, ok in verdict.parts.items()]
    shown = verdict.shown
    if shown is not None:
        lines += ["", *_sentences(verdict)]
        if tables := _tables(verdict):
            lines += ["", *(f"{title}\n{_text_table(block, wrong)}" for title, block, wrong in tables)]
        if shown.reply.printed.strip() and not shown.hidden:
            lines += ["", "Your function printed:", _cut(shown.reply.printed)]
        lines += ["", f'Stuck? hint("{verdict.exercise.id}")']
    return "\n".join(lines)


def html(verdict) -> str:
    """The report as one HTML element with inline styles that suit light and dark themes."""
    edge = {"✓": "#2e7d32", "✗": "#c62828", "○": "#757575"}[_headline(verdict)[0]]
    # What a student's exception says is text, whatever stands between dollars: MathJax, 2 and 3, leaves it alone.
    out = [f'<div class="tex2jax_ignore mathjax_ignore" style="border-left:5px solid {edge};padding:.3em 0 .3em 1em;margin:.3em 0;'
           'max-width:60em"><div style="font-size:110%;font-weight:bold">'
           f"{_html.escape(_headline(verdict))}</div>"]
    if len(verdict.parts) > 1:
        out.append("<div>" + " &nbsp; ".join(f"{'✓' if ok else '✗'} {_html.escape(name)}"
                                             for name, ok in verdict.parts.items()) + "</div>")
    shown = verdict.shown
    if shown is not None:
        out += [f'<p style="margin:.5em 0">{inline(s)}</p>' for s in _sentences(verdict)]
        if tables := _tables(verdict):
            cells = "".join(
                f'<div style="margin-right:2em"><div style="margin:.2em 0">{inline(title)}</div>'
                f"{_html_table(block, wrong)}</div>" for title, block, wrong in tables)
            out.append(f'<div style="display:flex;flex-wrap:wrap">{cells}</div>')
        if shown.reply.printed.strip() and not shown.hidden:
            out.append(f"<p>Your function printed:</p><pre>{_html.escape(_cut(shown.reply.printed))}</pre>")
        out.append(f'<p style="margin:.5em 0">Stuck? <code>hint("{verdict.exercise.id}")</code></p>')
    out.append("</div>")
    return "".join(out)


def _headline(verdict):
    points = f"{verdict.score:g} of {verdict.exercise.points:g} point{'s' * (verdict.exercise.points != 1)}"
    if verdict.shown is None:
        return f"✓ {verdict.exercise.id}: {points}"
    if verdict.shown.unfinished:
        return f"○ {verdict.exercise.id}: {points}, not written yet"
    return f"✗ {verdict.exercise.id}: {points}, {HEADINGS[verdict.shown.difference.layer]}"


def _sentences(verdict):
    """The diagnosis, a sentence or two a line.  A hidden probe's expected values stay hidden."""
    shown, difference = verdict.shown, verdict.shown.difference
    if shown.unfinished:
        return ["Replace `raise NotImplementedError()` with your code, run that cell, then this one again."]
    if difference.layer == "call" and shown.reply.failure is None:
        return [difference.message]
    if shown.hidden:
        lines = ["Every case you can see is right, but not one that only the grader has.",
                 f"Called: {_call(verdict)}."]
        lines += [difference.message] if difference.layer in ("call", "input") else []
    else:
        where = _place(verdict, difference)
        lines = [f"Called: {_call(verdict)}.", where + difference.message, difference.where or _unwritten(shown)]
    lines += [f"Likely cause: {verdict.cause}"] if verdict.cause else []
    return [line for line in lines if line]


def _call(verdict):
    """The call as code, and what the arrays in it are."""
    probe = verdict.shown.probe
    args = [_value(name, v) for name, v in zip(verdict.exercise.parameters, probe.args)]
    args += [f"{name}={_value(name, v)}" for name, v in probe.kwargs.items()]
    grid = f"[{probe.grid}]" if probe.grid else ""
    called = f"`{_made(probe) + ' = ' if probe.steps else ''}{verdict.exercise.function}{grid}({', '.join(args)})`"
    called += " on the meta device" if probe.device == "meta" else ""
    called += "".join(f", then `{_step(probe, step)}`" for step in probe.steps)
    arrays = [f"{name} of shape {v.shape}" + (f" and dtype {v.dtype}" if v.dtype != float else "")
              + ("" if v.flags.c_contiguous else " (a strided view)")
              for name, v in _arrays(verdict).items()]
    return called + (f" with {', '.join(arrays)}" if arrays else "")


def _value(name, value):
    return name if isinstance(value, np.ndarray) else repr(value)


def _made(probe):
    """What the report calls the object that a call made."""
    return "net" if probe.device else "layer"


def _step(probe, step):
    name, given = step
    values = [_value(k, v) for k, v in (given or {}).items()]
    if not probe.device or name not in modules.STEPS:
        return f"{_made(probe)}.{name}" + ("" if given is None else f"({', '.join(values)})")
    if name in ("train", "eval"):
        return f"net.{name}()"
    return f"net({', '.join(values)})" if name == "forward" else f"{name}({', '.join(['net', *values])})"


def _place(verdict, difference):
    """Where in the answer a difference is: in what a step gave, in what a kernel wrote, in a tuple."""
    probe, path = verdict.shown.probe, difference.path
    if probe.grid and difference.layer not in ("call", "input"):
        number, path = re.match(r"(?:\[(\d+)\])?(.*)", path).groups()
        return f"In `{verdict.exercise.parameters[probe.written[int(number or 0)]]}` afterwards: "
    if probe.steps and path:
        number, path = re.match(r"\[(\d+)\](.*)", path).groups()
        return f"`{_step(probe, probe.steps[int(number)])}`{f', at {path}' if path else ''}: "
    return f"In the returned tuple, at {path}: " if path else ""


def _unwritten(shown):
    """That a kernel left alone what it should have written; "" otherwise."""
    probe, difference = shown.probe, shown.difference
    if not probe.grid or difference.wrong is None:
        return ""
    number = int((re.findall(r"\d+", difference.path) or [0])[0])
    value = shown.reply.value[number] if len(probe.written) > 1 else shown.reply.value
    left = difference.wrong & (value == probe.args[probe.written[number]])
    return (f"{left.sum()} of these {'was' if left.sum() == 1 else 'were'} never written: there is what was there before "
            "the launch." if left.any() else "")


def _arrays(verdict):
    """The arrays among the arguments of the call, by the name of the parameter."""
    probe = verdict.shown.probe
    named = dict(zip(verdict.exercise.parameters, probe.args)) | probe.kwargs
    for _, given in probe.steps:
        named |= given or {}
    return {name: v for name, v in named.items() if isinstance(v, np.ndarray)}


def _tables(verdict):
    """(title, 2-D values, 2-D wrong mask or None): small inputs, expected, returned."""
    shown, difference = verdict.shown, verdict.shown.difference
    if shown.hidden or difference.layer not in ("shape", "values", "finite"):
        return []
    expected, got = shown.probe.expected, shown.reply.value
    for index in re.findall(r"\d+", difference.path):
        expected, got = expected[int(index)], got[int(index)]
    if not isinstance(expected, np.ndarray) or expected.ndim == 0:
        return []
    tables = [table for name, v in _arrays(verdict).items() for table in _planes(name, v)]
    got, wrong = np.array(got), difference.wrong
    first = np.argwhere(wrong)[0] if wrong is not None else np.zeros(max(expected.ndim, got.ndim), int)
    for title, array in [("Expected", expected), ("Returned", got)]:
        if array.ndim == 0 or array.size == 0:
            continue
        cut, label = _window(array.shape, first[-array.ndim:])
        mark = wrong is not None and array is got
        tables.append((title + label, np.atleast_2d(array[cut]), np.atleast_2d(wrong[cut]) if mark else None))
    return tables


def _planes(name, array):
    """The tables of an input: each plane, if they are small and few."""
    lead = array.shape[:-2]
    if not 0 < array.size or max(array.shape[-2:], default=0) > SMALL or np.prod(lead) > PLANES or not array.ndim:
        return []
    return [(f"{name}[{', '.join(map(str, i))}]" if i else name, np.atleast_2d(array[i]), None)
            for i in np.ndindex(*lead)]


def _window(shape, first):
    """Index of the plane, and the rows and columns around the first difference; its label."""
    lead = tuple(int(i) for i in first[:-2])
    spans = []
    for n, i in zip(shape[-2:], first[-2:]):
        start = max(0, min(int(i) - SMALL // 2, n - SMALL))
        spans.append(slice(start, min(n, start + SMALL)))
    if not lead and all(n <= SMALL for n in shape):
        return tuple(spans), ""
    label = ", ".join([*map(str, lead), *(":" if n <= SMALL else f"{s.start}:{s.stop}"
                                          for n, s in zip(shape[-2:], spans))])
    return lead + tuple(spans), f" [{label}]"


def _cell(value):
    if isinstance(value, np.floating | np.complexfloating):
        return f"{value:.4g}"
    return str(value)


def _text_table(block, wrong):
    cells = [[_cell(v) + ("✗" if wrong is not None and wrong[i, j] else " ")
              for j, v in enumerate(row)] for i, row in enumerate(block)]
    width = max(len(c) for row in cells for c in row)
    return "\n".join("  " + " ".join(c.rjust(width) for c in row) for row in cells)


def _html_table(block, wrong):
    rows = []
    for i, row in enumerate(block):
        cells = []
        for j, value in enumerate(row):
            bad = wrong is not None and wrong[i, j]
            style = ("background:rgba(198,40,40,.18);font-weight:bold;outline:1px solid #c62828"
                     if bad else "")
            cells.append(f'<td style="text-align:right;padding:.15em .5em;border:1px solid '
                         f'rgba(128,128,128,.4);{style}">{_html.escape(_cell(value))}'
                         f'{" ✗" if bad else ""}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (f'<table style="border-collapse:collapse;margin:0;font-variant-numeric:tabular-nums">'
            f'<tbody>{"".join(rows)}</tbody></table>')


def inline(sentence):
    """Escape, then `code`, line breaks, and a bold opening word."""
    escaped = _html.escape(sentence).replace("\n", "<br>")
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"^(Called|Likely cause|Expected|Returned)\b", r"<b>\1</b>", escaped)


def _cut(printed, lines=10):
    rows = printed.rstrip().splitlines()
    more = [f"… and {len(rows) - lines} more lines"] if len(rows) > lines else []
    return "\n".join([r[:200] for r in rows[:lines]] + more)
