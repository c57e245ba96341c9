"""What a student wrote or printed is harmless on nbgrader's pages, and still readable there."""

import html
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import nbgrader
import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.ansi import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from autograder import nbg, neutral
from cnnlab import checks, report
from cnnlab.calls import Local
from cnnlab.probes import load

PICTURE = "iVBORw0KGgo="
NBGRADER = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader"


def exporter(template):
    base = {"template_name": template}
    if template in ("feedback", "formgrade"):
        base["extra_template_basedirs"] = [str(NBGRADER / "templates")]
        base["extra_template_paths"] = [str(NBGRADER / "static/node_modules/bootstrap/dist/css")]
    made = HTMLExporter(**base)
    made.raw_mimetypes = ["", "text/html"]
    return made


def page(cells, template):
    about = {"notebook": "hw", "score": 0, "max_score": 1, "late_penalty": 0}
    notebook = new_notebook(cells=cells)
    resources = {"nbgrader": about, "index": 0, "total": 1, "base_url": "", "notebook_id": "hw", "assignment_id": "hw"}
    return exporter(template).from_notebook_node(notebook, resources)[0]


class Elements(HTMLParser):
    """All start tags of a page, as (name, {attribute: value}), and the text that stands outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.comments, self.text, self.inside = [], [], "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if not self.inside:
            self.text += data

    def handle_comment(self, data):
        self.comments.append(data)


LIVE = {"script", "style", "iframe", "object", "embed", "form", "button", "svg", "math", "link", "meta", "base",
        "template", "textarea", "video", "audio", "select", "input", "marquee", "details", "frame", "frameset", "applet"}


def live(tags):
    """What would do something: elements, event handlers, ids and names, links and images."""
    found = []
    for tag, attributes in tags:
        if tag in LIVE and attributes.get("type") != "checkbox":
            found.append(tag)
        for key, value in attributes.items():
            value = html.unescape(value or "").strip().lower()
            if key.startswith("on") or key in ("name", "srcdoc", "formaction", "action", "xlink:href", "background"):
                found.append((tag, key))
            if key in ("href", "src") and not re.match(r"https?://|mailto:|#|data:image/(png|jpeg|gif|webp);base64,", value):
                found.append((tag, key, value))
            if key == "src" and not value.startswith("data:"):
                found.append((tag, key, value))
            if key == "style" and re.search(r"url|expression|import|position|\\", value):
                found.append((tag, key, value))
    return sorted(map(str, found))


HOSTILE = [
    "<script>alert(1)</script>", "<ScRiPt src=//x></sCrIpT>", "<img src=x onerror=alert(1)>", "text <b onclick=a()>b</b>",
    "<svg/onload=alert(1)>", "<svg><script>alert(1)</script></svg>", "<iframe srcdoc='<script>1</script>'></iframe>",
    "<form action=/api><input name=x></form>", "<style>body{background:url(//x)}</style>", "<base href=//x>",
    "<!-- --!><script>1</script> -->", "<![CDATA[<script>1</script>]]>", "<?php <script> ?>", "<!DOCTYPE html>",
    "</div></div></body><script>1</script>", "<div id=check_f>", "<a name=top></a>", "<p id=submission_id>",
    "<math><mtext><script>1</script></mtext></math>", "<noscript><p title='</noscript><img src=x onerror=1>'>",
    "[a](javascript:alert(1))", "[a](  javascript:alert(1) )", "[a](<javascript:alert(1)>)", "[a](JaVaScRiPt:alert(1))",
    "[a](java&#115;cript:alert(1))", "[a](&#x6A;avascript:alert(1))", "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)", "[a](files/javascript:alert(1))", "[a](/files/javascript:alert(1))", "[a](/logout)", "[a](//x.org)",
    "[a](\x01javascript:alert(1))", "[a](file:///etc/passwd)", "[a](../api/contents)", "[a][b]\n\n[b]: javascript:alert(1)",
    "[a]\n\n[a]: <javascript:alert(1)> \"t\"", "[a][]\n\n[A]: data:text/html,x", "<javascript:alert(1)>", "<data:text/html,x>",
    "![a](http://x.org/track.png)", "![a](javascript:alert(1))", "![a](/logout)", "![a](attachment:missing.png)",
    "![a](data:image/svg+xml;base64,PHN2Zz4=)", "![a][b]\n\n[b]: http://x.org/track.png", "![<script>1</script>](http://x/y)",
    "[![a](javascript:1)](javascript:2)", "![a](http://x/\"onerror=\"alert(1))", "[a](http://x \"\\\" onclick=alert(1) \")",
    "```mermaid\n<script>alert(1)</script>\n```", "~~~ mermaid x\n<img src=x onerror=alert(1)>\n~~~",
    "- ```mermaid\n  <script>1</script>\n  ```", "> ```mermaid\n> <script>1</script>\n> ```", "```\\mermaid\n<b>\n```",
    "``` &#109;ermaid\n<script>1</script>\n```", "```x\" onclick=\"alert(1)\n1\n```", "# check_f", "check_f\n=======",
    "## written_w-comment", "# check\\_f", "# **check_f**", "# statusmessage", "# <script>1</script>", "# a &amp; <b>",
    "| <script>1</script> |\n|---|\n| [a](javascript:1) |", "a\n: <script>1</script>", "- [ ] <script>1</script>",
    "1. <script>1</script>\n   - <img src=x onerror=1>", "    <script>1</script>", "`<script>` <script>`1`</script>",
    "``<script>1</script>`", "$<script>1</script>$", "$$<script>1</script>$$", "\\\\(<script>1</script>\\\\)",
    "\\begin{a}<script>1</script>\\end{a}", "$`$<script>1</script>`", "\\`<script>1</script>\\`", "<scr\nipt>1</scr\nipt>",
    "~~<script>1</script>~~", "**<script>1</script>**", "http://x.org/<script>1</script>", "<http://x/\"onclick=\"1>",
    "&lt;script&gt;", "&#60;script&#62;1", "\\<script>1\\</script>", "<a@b.c\"onclick=1>", "\x00<script>1</script>",
    "<\x00script>1</script>", "\ufeff<script>1</script>", "<script>1</script>\r<img src=x onerror=1>", "[" * 3000,
    "> " * 3000, "- " * 3000, "<b>" * 3000, "*a_" * 3000, "\\begin{a}" * 2000, "`" * 3000 + "<script>1</script>",
]
FORMULAS = [
    "$\\href{javascript:alert(1)}{x}$", "$$\n\\href{javascript:alert(1)}{x}\n$$", "\\\\[ \\style{position:fixed}{x} \\\\]",
    "$\\class{x}{y}$", "$\\cssId{check_f}{y}$", "$\\unicode{x41}$", "\\begin{align}\\require{html}\\end{align}",
    "$\\bbox[background:url(//x)]{y}$", "$\\def\\x{y}$", "$\\newcommand{\\x}{y}$", "$\\let\\a\\b$",
    "$\\hre&#102;{javascript:1}{x}$", "&#36;\\href{javascript:1}{x}&#36;", "$\\mmlToken{mi}[href=javascript:1]{x}$",
    "\\\\(\\href{javascript:1}{x}\\\\)", "a $b\n\\href{javascript:1}{x}\n c$ d", "# $\\href{javascript:1}{x}$",
    "| $\\href{javascript:1}{x}$ |\n|---|\n| 1 |", "\\$\\href{javascript:1}{x}\\$", "$\\HREF{javascript:1}{x}$",
]


def rendered(text, attachments=None):
    """As nbconvert renders a text cell."""
    return MarkdownWithMath(renderer=IPythonRenderer(escape=False, attachments=attachments or {})).render(text)


def letters(text):
    """The letters and digits, which is what has to stay readable."""
    return re.sub(r"[\W_]", "", text)


@pytest.mark.parametrize("text", HOSTILE + FORMULAS)
def test_nothing_is_live_and_all_is_readable(text):
    tame = neutral.markdown(text)
    assert neutral.markdown(tame) == tame
    shown = Elements(rendered(tame))
    assert live(shown.tags) == [] and shown.comments == []
    for _, attributes in shown.tags:
        assert not re.fullmatch(r"check_f|written_w-comment|statusmessage", attributes.get("id", ""))
    if "&" not in text and "]: http" not in text:
        links = "".join(a.get("href", "") + a.get("title", "") for _, a in shown.tags)
        assert set(re.findall(r"\w+", text.replace("_", " "))) <= set(re.findall(
            r"\w+", (shown.text + " " + links + " " + tame.split("\n")[0]).replace("_", " ")))


@pytest.mark.parametrize("text", FORMULAS)
def test_no_command_that_mathjax_would_follow_stands_outside_of_code(text):
    shown = rendered(neutral.markdown(text))
    prose = html.unescape(re.sub(r"<(pre|code).*?</\1>", "", shown, flags=re.DOTALL))
    assert not re.search(r"\\(href|style|class|cssId|unicode|require|bbox|def|newcommand|let|mmlToken)\b", prose, re.I)


PLAIN = [
    "Plain *text* with **bold**, `code <b>`, ~~old~~ and a [link](https://x.org/a_b?c=1&d=2 \"t\").", "", " ", "\n\n",
    "# A heading\n\n## And padding", "| a | b |\n|:-:|--:|\n| `x<y>` | $a<b$ |", "```python\nif a<b: print('<b>')\n```",
    "    <indented>", "~~~\n<script>\n~~~", "$a<b$ and $$\\sum_{i<n} x_i$$", "\\begin{align}a&<b\\\\c&>d\\end{align}",
    "a < b, c > d, x<3, 1<2", "1. one\n2. two\n   - three", "> quoted", "- [ ] open\n- [x] done", "<https://x.org>",
    "<mailto:a@b.c>", "https://x.org and mailto", "a  \nb", "term\n: meaning", "5 & 6 &amp; 7 &lt;b&gt;", "\\<b>",
    "[up](#A-heading)", "$\\frac{1}{2} \\text{if } \\hat{x} \\color{red}{y}$", "[a]\n\n[a]: https://x.org", "Umläute é 中文 🎉",
    "\\\\(a<b\\\\)", "***", "```unknown-language\nx\n```", "price: $5 and $6"]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_markdown_is_not_touched(text):
    assert neutral.markdown(text) == text


def test_around_what_is_escaped_the_rest_renders_as_before():
    text = "<b>no</b> `x<y>` $a<b$ *yes*\n\n```python\n1 < 2\n```\n\n| a |\n|---|\n| $c<d$ |\n\n[l](https://x.org)"
    assert rendered(neutral.markdown(text)) == rendered(text).replace("<b>no</b>", "&lt;b&gt;no&lt;/b&gt;")


@pytest.mark.parametrize("text", ["<em>x</em>", "a</div></div>", "<table>", "</p>", "<pre>", "<div class=\"highlight\">", "<br>",
                                  "```mermaid\n</div><em>x</em>\n```"])
def test_also_html_that_markdown_itself_makes_is_shown_and_not_taken(text):
    """An end of a division more, and the rest of the page would stand outside of its cell."""
    shown = rendered(neutral.markdown(text))
    assert re.search(r"</?\w+[^>]*>", text)[0] in html.unescape(re.sub("<[^>]*>", "", shown))


def test_a_long_text_is_shown_as_typed_and_quickly():
    text = "<script>alert(1)</script> \\\\[ " * 20_000
    tame = neutral.markdown(text)
    assert tame == neutral.fenced(text) == neutral.markdown(tame)
    assert live(Elements(rendered(tame)).tags) == []


@pytest.mark.parametrize("text", ["```\n<script>1</script>\n```\n<script>2</script>\n```", "```\n```", "```\n\n```\n```",
                                  "```\n<script>\n````\n<script>2</script>\n```", "```\n````mermaid\n<b>\n```"])
def test_what_only_looks_like_one_block_of_code_is_not_taken_for_it(text):
    assert live(Elements(rendered(neutral.markdown(text))).tags) == []
    assert "<script" not in rendered(neutral.markdown(text)) and "<b>" not in rendered(neutral.markdown(text))


FRAGMENTS = st.sampled_from([
    *"<>[]()!`$\\\"'#*_|~-=:&;\n\t ", "\n\n", "    ", "```", "~~~", "$$", "\\\\[", "\\\\]", "\\\\(", "\\\\)", "mermaid",
    "<script>", "</script>", "<b>", "<!--", "-->", "<a href=\"", "javascript:", "alert(1)", "&lt;", "&#60;", "&quot;",
    "](", "![", "]: ", "http://x.org", "attachment:a.png", "attachment:b", "\\href{", "\\begin{a}", "\\end{a}", "check_f",
    "# ", "\n===\n", "> ", "- ", "1. ", "| a |\n|---|\n", " onclick=", "x", "\r", "\x00", "\u2028", "files/", "data:"])


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_no_composition_of_hostile_fragments_is_live(text):
    pictures = {"a.png": {"image/png": PICTURE}}
    tame = neutral.markdown(text, pictures)
    assert neutral.markdown(tame, pictures) == tame
    shown = rendered(tame, pictures)
    assert live(Elements(shown).tags) == [] and Elements(shown).comments == []
    assert "check_f" not in [a.get("id") for _, a in Elements(shown).tags]
    known = {"p", "em", "strong", "del", "a", "img", "code", "pre", "div", "span", "ul", "ol", "li", "blockquote", "br", "hr",
             "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "input", *(f"h{n}" for n in range(1, 7))}
    assert {tag for tag, _ in Elements(shown).tags} <= known
    code = re.sub(r"<(pre|code).*?</\1>", "", shown, flags=re.DOTALL)
    assert "\\href" not in html.unescape(re.sub("<[^>]*>", "", code))


# ---- Cells ----

def test_a_raw_cell_becomes_a_block_of_code_and_code_stays():
    raw = neutral.cell(new_raw_cell("<script>```</script>", id="a", metadata={"raw_mimetype": "text/html"}))
    assert (raw.cell_type, raw.source, raw.id) == ("markdown", "````\n<script>```</script>\n````", "a")
    code = new_code_cell("'<script>'")
    assert neutral.cell(code) is code


def test_only_images_stay_attached():
    given_ = {"a.png": {"image/png": PICTURE + "\n"}, "b.svg": {"image/svg+xml": "<svg onload=1>"}, "c": {},
              "d": {"image/png": "<script>"}, "e": {"text/html": PICTURE, "image/gif": PICTURE}, "f": 3,
              "g": {"image/png": {"a": 1}}, "h": {"image/png": ""}, "i": {"image/jpeg": "a\"onerror=1"}}
    kept = {"a.png": {"image/png": PICTURE}, "e": {"image/gif": PICTURE}}
    text = "![a](attachment:a.png) ![b](attachment:b.svg) ![e](attachment:e) ![c](attachment:c)"
    cell = new_markdown_cell(text)
    cell["attachments"] = given_
    done = neutral.cell(cell)
    assert done.attachments == kept
    assert done.source == text.replace("![b]", "\\![b\\]").replace("![c]", "\\![c\\]")
    shown = Elements(rendered(done.source, kept)).tags
    assert [a["src"][5:14] for t, a in shown if t == "img"] == ["image/png", "image/gif"] and live(shown) == []
    for odd in (None, 3, [], "x"):
        assert neutral.attachments(odd) == {}


# ---- Outputs ----

def shown_html(page_):
    return neutral.output({"output_type": "display_data", "data": {"text/html": page_, "text/plain": "p"}}).data.get(
        "text/html", "")


@pytest.mark.parametrize("page_", HOSTILE + [
    "<table onclick=1><tr style='background:url(//x)'><td style='color:red;position:fixed' id=check_f>1</td></tr></table>",
    "<a href='javascript:1'>a</a><a href='/logout' target=_blank>b</a><a href='https://x' name=top class=score>c</a>",
    "<p style='color: red; background-image: \\75rl(//x)'>a</p>", "<p style='color: expression(1)'>a</p>",
    "<b>\\href{javascript:1}{x}</b>", "<style>@import 'x'</style>text", "<title>a</title>b", "<plaintext>x", "<xmp><b>"])
def test_html_of_an_output_keeps_nothing_live(page_):
    clean = shown_html(page_)
    tags = Elements(clean).tags
    assert live(tags) == []
    assert all(set(a) <= {"href", "rel", "style", "colspan", "rowspan", "start", "class"} for _, a in tags)
    assert all(a.get("rel") == "noopener noreferrer" for t, a in tags if t == "a")
    assert "\\href" not in re.sub("</?b>", "", clean)
    assert shown_html(clean) == clean


def test_tables_as_pandas_writes_them_and_simple_formatting_stay():
    page_ = ('<div><table class="dataframe"><thead><tr style="text-align: right;"><th></th><th>a</th></tr></thead>'
             '<tbody><tr><th>0</th><td style="background-color: #ff0000; color: rgb(1, 2, 3)">1</td></tr></tbody>'
             '</table></div><p><b>3</b> rows × <i>2</i> <a href="https://x.org" rel="noopener noreferrer">x</a></p>')
    assert shown_html(page_) == page_


def test_the_report_of_a_check_keeps_its_layout():
    exercise = load("brighten")
    shown = report.html(checks.judge(exercise, Local(lambda image, amount: image * 0.5)))
    assert "<table style=" in shown and "outline:" in shown and "display:flex" in shown
    assert re.findall(r'style="[^"]*"', shown_html(shown)) == re.findall(r'style="[^"]*"', shown)


@pytest.mark.parametrize("style", [
    "position:fixed", "color:red;position:absolute;top:0", "background:url(//x)", "background:image-set('x')", "display:none",
    "margin:-5em", "margin: 0 -5em", "margin-right:-1px", "margin-left:1px", "margin-top:-1px", "display:grid", "float:left",
    "transform:none", "z-index:1", "opacity:0", "color:\\72 ed", "color:var(--x)", "width:calc(1px)", "color:red/**/"])
def test_a_style_that_lays_one_thing_over_another_is_dropped(style):
    assert shown_html(f'<p style="{style}">a</p>') == "<p>a</p>"


@pytest.mark.parametrize("page_", ["<script>1</script>", "<img src=x>", "<style>x</style>", "<div> </div>", "<b>" * 20_000,
                                   "<div>" * 500 + "x"])
def test_html_of_which_nothing_is_left_gives_way_to_the_text(page_):
    done = neutral.output({"output_type": "display_data", "data": {"text/html": page_, "text/plain": "p"}})
    assert done.data == {"text/plain": "p"}


@pytest.mark.parametrize("mime", ["image/svg+xml", "application/javascript", "application/x-odd", "text/vnd.mermaid",
                                  "application/vnd.jupyter.widget-view+json", "application/pdf", "text/latex"])
def test_what_may_be_live_is_dropped_and_its_text_shown_if_there_is_no_other(mime):
    text = "<svg onload=1> \\href{javascript:1}{x}"
    alone = neutral.output({"output_type": "display_data", "data": {mime: [text]}, "metadata": {"a": 1}})
    assert alone == new_output("display_data", data={"text/plain": text})
    both = neutral.output({"output_type": "display_data", "data": {mime: text, "text/plain": "p"}})
    assert both.data == {"text/plain": "p"}


@pytest.mark.parametrize("mime, kind", [("image/svg+xml", "SVG"), ("application/javascript", "Javascript"),
                                        ("text/html", "HTML")])
def test_what_was_displayed_is_shown_where_ipython_only_names_its_kind(mime, kind):
    data = {mime: "<script>1</script>", "text/plain": f"<IPython.core.display.{kind} object>"}
    done = neutral.output({"output_type": "display_data", "data": data})
    assert done.data == {"text/plain": "<script>1</script>"}
    del data[mime]
    assert neutral.output({"output_type": "display_data", "data": data}).data == data
    data["image/png"] = PICTURE
    assert neutral.output({"output_type": "display_data", "data": data}).data == data


@pytest.mark.parametrize("mime", ["text/plain", "text/latex", "text/markdown"])
def test_a_very_long_text_is_cut_and_says_so(mime):
    done = neutral.output({"output_type": "display_data", "data": {mime: "x" * 1_000_000}})
    text = done.data[mime]
    assert neutral.KEPT - 100 < len(text) <= neutral.KEPT + 10
    (left,) = re.findall(r"\n\.\.\. (\d+) more characters left out", text)
    assert text.count("x") + int(left) == 1_000_000
    assert neutral.output(done) == done
    whole = {mime: "x" * neutral.KEPT}
    assert "left out" not in neutral.output({"output_type": "display_data", "data": whole}).data[mime]


def test_text_images_markdown_and_formulas_stay():
    data = {"text/plain": "p <b>", "image/png": PICTURE, "image/jpeg": PICTURE, "text/latex": "$a<b$"}
    done = neutral.output({"output_type": "execute_result", "execution_count": 3, "data": data | {
        "text/markdown": "<b>x</b>"}, "metadata": {"image/png": {"width": "1 onerror=alert(1)"}}})
    assert done == new_output("execute_result", execution_count=3, data=data | {"text/markdown": "&lt;b>x&lt;/b>"})
    assert neutral.output(done) == done


@pytest.mark.parametrize("odd", [
    None, 3, "x", [], {}, {"output_type": None}, {"output_type": ["stream"]}, {"output_type": "update_display_data"},
    {"output_type": "display_data"}, {"output_type": "display_data", "data": []}, {"output_type": "display_data", "data": {}},
    {"output_type": "display_data", "data": {"text/plain": {"a": 1}, 3: 4, "image/png": 5, "text/html": None}}])
def test_an_output_that_is_none_is_dropped(odd):
    assert neutral.output(odd) is None


def test_odd_types_inside_an_output_do_no_harm():
    assert neutral.output({"output_type": "stream", "name": {}, "text": {"a": 1}}) == new_output(
        "stream", name="stdout", text="")
    assert neutral.output({"output_type": "stream", "name": "stderr", "text": ["a\n", "b"]}) == new_output(
        "stream", name="stderr", text="a\nb")
    assert neutral.output({"output_type": "error", "ename": 3, "evalue": ["<b>"], "traceback": "x"}) == new_output(
        "error", ename="", evalue="<b>", traceback=[])
    assert neutral.output({"output_type": "error", "ename": "E\x1b[31m", "evalue": "v", "traceback": [3, "\ud800"]}
                          ) == new_output("error", ename="E", evalue="v", traceback=["", "\ufffd"])
    done = neutral.output({"output_type": "execute_result", "execution_count": "<b>", "data": {"text/plain": "1"}})
    assert done.execution_count is None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["\x1b", "[", "38", ";", "5", "2", "m", "31", "K", "H", "x", "\n", "0", "999", "\x07", "]"]),
                max_size=20).map("".join))
def test_colours_stay_and_no_control_sequence_makes_nbconvert_fail(text):
    clean = neutral.terminal(text)
    assert neutral.terminal(clean) == clean
    ansi2html(clean)
    assert not re.search(r"\x1b(?!\[[\d;]*m)|\x07", clean)


def test_the_colours_of_a_traceback_stay():
    text = "\x1b[31mError\x1b[39m \x1b[1;32mline\x1b[0m \x1b[38;5;28;01mif\x1b[48;2;1;2;3m x\x1b[m"
    assert neutral.terminal(text) == text
    assert neutral.terminal("a\x1b[38m\x1b[2Jb\x1b]0;title\x07c") == "ab]0;titlec"
    assert neutral.terminal("a\x1b[31;38mb\x1b[1;48mc") == "abc"  # nbconvert fails on them


# ---- No text takes long ----

def seconds(act, *args):
    begun = time.perf_counter()
    act(*args)
    return time.perf_counter() - begun


def test_a_sequence_that_never_ends_is_read_quickly():
    assert seconds(neutral.terminal, "\x1b[" + "38;5;1;" * 3000 + "x") < 1


@pytest.mark.parametrize("page_", ["<td " + "a " * 1_000_000 + ">x</td>", "<b>x</b>" + "x" * 2_000_000,
                                   "<td " + "a=1 " * 1000 + ">x</td>"])
def test_huge_html_gives_way_to_the_text(page_):
    assert shown_html(page_) == ""
    assert seconds(shown_html, page_) < 1


def test_a_text_with_many_fences_is_shown_as_typed():
    text = "<img>" + ("~" * 100 + "x\n") * 195
    assert seconds(neutral.markdown, text) < 1
    assert neutral.markdown(text) == neutral.fenced(text)


@pytest.mark.parametrize("style", [
    "color:" + " " * 490 + "(", "color:   1;" * 44 + "(", "color:" + "rgb(" * 120, "color:rgb(" + " " * 480,
    "color:" + "rgb(1)" * 80 + "(", "margin:   1;" * 40 + "(", "display:  flex  ;  " * 25 + "(", "color:1;   " * 44 + "(",
    " " * 490 + "(", "color" + " " * 490 + "(", "background-color : a;" * 23 + "(", "color: a b ;" * 40 + "("])
def test_every_style_is_judged_quickly(style):
    assert len(style) < 500
    assert not neutral.STYLE.fullmatch(style)
    assert min(seconds(neutral.STYLE.fullmatch, style) for _ in range(5)) < 0.005


# ---- On the pages themselves ----

def hostile_cells():
    attached = {"a.svg": {"image/svg+xml": "<svg onload=alert(1)>"}, "a.png": {"image/png": PICTURE}}
    cells = [new_markdown_cell(t, attachments=attached) for t in HOSTILE + FORMULAS]
    cells += [new_raw_cell(t) for t in HOSTILE[:20]]
    outputs = [{"output_type": "display_data", "data": {mime: t, "text/plain": "p"}}
               for t in HOSTILE for mime in ("text/html", "text/markdown", "text/latex", "image/svg+xml", "image/png",
                                             "application/javascript", "text/vnd.mermaid")]
    outputs += [{"output_type": "stream", "name": "stdout", "text": t} for t in HOSTILE]
    outputs += [{"output_type": "error", "ename": t, "evalue": t, "traceback": [t, f"\x1b[38m{t}"]} for t in HOSTILE]
    clean = [o for o in map(neutral.output, outputs) if o]
    # A cell of code for each few, so that one cell is not enormous.
    return [neutral.cell(c, {"check_f"}) for c in cells] + [new_code_cell("'<script>1</script>'", outputs=clean)]


@pytest.mark.parametrize("template", ["classic", "lab", "feedback", "formgrade"])
def test_on_the_pages_of_nbconvert_and_nbgrader_nothing_of_a_student_is_live(template):
    cells = hostile_cells()
    nbformat.validate(new_notebook(cells=cells))
    own = Elements(page([new_markdown_cell("x"), new_code_cell("1")], template))
    shown = Elements(page(cells, template))
    assert live(shown.tags) == live(own.tags)
    assert shown.comments == own.comments
    boxes = {a.get("id") for _, a in shown.tags} & {"check_f", "written_w-comment", "statusmessage"}
    assert boxes == {a.get("id") for _, a in own.tags} & {"statusmessage"}
    assert "alert(1)" in shown.text


@pytest.mark.parametrize("template", ["classic", "lab", "feedback", "formgrade"])
def test_the_pages_would_be_live_without_it(template):
    own = Elements(page([new_markdown_cell("x")], template))
    for text in ("<script>alert(1)</script>", "[a](javascript:1)", "```mermaid\n<script>1</script>\n```"):
        assert live(Elements(page([new_markdown_cell(text)], template)).tags) != live(own.tags)


def test_formgrader_has_mathjax_from_the_machine_and_the_feedback_from_the_web(tmp_path):
    for template, source in {"formgrade": "../../../static/jupyter_server_mathjax/", "feedback": "https://cdnjs"}.items():
        made = HTMLExporter(config=nbg.config(tmp_path), template_name=template, extra_template_paths=[
            str(NBGRADER / "static/node_modules/bootstrap/dist/css")])
        about = {"notebook": "hw", "score": 0, "max_score": 1, "late_penalty": 0}
        shown = made.from_notebook_node(new_notebook(), {"nbgrader": about, "index": 0, "total": 1, "base_url": ""})[0]
        found = [a["src"] for t, a in Elements(shown).tags if t == "script" and "mathjax" in a.get("src", "")]
        assert len(found) == 1 and found[0].startswith(source)
