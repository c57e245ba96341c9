"""Make what a student wrote or printed harmless to look at: Markdown, raw cells, attachments, outputs.

Formgrader and the feedback show it on pages of the instructor's own server, within reach of its API.  nbconvert
renders Markdown with its HTML, so a text is rendered here first, by nbconvert's own parser; one that would be live is
rewritten until it is not.  What was typed stays readable.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Collection, Mapping

import nh3
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

LONG = 20_000  # characters; a longer text is shown as typed, since parsing hostile Markdown takes quadratic time
KEPT = 200_000  # characters of a text in an output; the rest is left out
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
LINK = r"(?:https?://|mailto:|#)"
# MathJax commands that make links, styles, classes and ids, load code, or change formulas elsewhere on the page.
MACRO = re.compile(r"\\(?:href|url|style|class|cssId|data|unicode|require|bbox|html\w*|includegraphics|mmlToken|texttip"
                   r"|mathtip|toggle|enclose|def|gdef|edef|xdef|let|csname|newcommand|renewcommand|providecommand"
                   r"|newenvironment|renewenvironment|DeclareMathOperator)(?![A-Za-z])", re.IGNORECASE)
# Ids that nbgrader's pages find their boxes by; a heading's text becomes its id.
TAKEN = re.compile(r"(?:check|written)_\w+|cell-[\w-]+|[\w-]+(?:-comment|_extra_credit)|notebook|notebook-container"
                   r"|statusmessage|toc|top")


def markdown(text: str, attachments: Mapping[str, Mapping[str, str]] | None = None, ids: Collection[str] = ()) -> str:
    """Markdown that nbconvert renders without anything live; `text` itself, unchanged, if it already is that.

    attachments: the images that the text may show.  ids: what no heading may take as its id.
    """
    names = attachments or {}
    if _is_fenced(text) or _harmless(text, names, ids):
        return text
    if len(text) <= LONG and not _is_slow(text):
        for code, strict in ((CODE_AND_MATH, False), (CODE, False), (CODE, True), (NOTHING, True)):
            tamed = _as_typed(text, code, strict, names, ids)
            if _harmless(tamed, names, ids):
                return tamed
    return fenced(text)


def fenced(text: str) -> str:
    """`text` as a block of code, which shows it as it was typed."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def cell(given: NotebookNode, ids: Collection[str] = ()) -> NotebookNode:
    """A Markdown or raw cell made harmless: a raw one, which nbconvert emits as it is, becomes a block of code.

    A cell of code comes back as it is: nbconvert escapes its source.
    """
    if given.cell_type == "code":
        return given
    made = new_markdown_cell(metadata=given.metadata, id=given.id)
    if given.cell_type == "raw":
        made.source = fenced(given.source) if given.source.strip() else ""
        return made
    kept = attachments(given.get("attachments"))
    made.source = markdown(given.source, kept, ids)
    if kept:
        made.attachments = kept
    return made


def attachments(given: object) -> NotebookNode:
    """The attachments that are PNG, JPEG, GIF or WebP in valid base64."""
    kept = NotebookNode()
    for name, bundle in given.items() if isinstance(given, Mapping) else ():
        images = {m: _base64(bundle[m]) for m in IMAGES if m in bundle} if isinstance(bundle, Mapping) else {}
        images = {m: data for m, data in images.items() if data}
        if images and isinstance(name, str):
            kept[name] = images
    return kept


def output(given: object) -> NotebookNode | None:
    """A clean copy of one output of a kernel, of which nothing is trusted; None if nothing can be shown.

    Text, images and simple tables stay; what is live or unknown is dropped, with its text kept if there is no other.
    """
    given = given if isinstance(given, Mapping) else {}
    kind = given.get("output_type")
    if kind == "stream":
        name = "stderr" if given.get("name") == "stderr" else "stdout"
        return new_output("stream", name=name, text=terminal(given.get("text")))
    if kind == "error":
        lines = given.get("traceback")
        return new_output("error", ename=_plain(given.get("ename")), evalue=_plain(given.get("evalue")),
                          traceback=[terminal(line) for line in lines] if isinstance(lines, list) else [])
    if kind not in ("execute_result", "display_data") or not isinstance(given.get("data"), Mapping):
        return None
    data = _bundle(given["data"])
    if not data:
        return None
    count = given.get("execution_count")
    extra = {"execution_count": count if type(count) is int else None} if kind == "execute_result" else {}
    return new_output(kind, data=data, **extra)


def terminal(text: object) -> str:
    """Text of a terminal: colours stay, other control sequences go; nbconvert fails on some of them."""
    # Each number can be read in one way only, or a hostile sequence would be tried in every way.
    colour = r"(?:[34]8;5;\d{1,3}|[34]8;2;\d{1,3};\d{1,3};\d{1,3}|(?![34]8(?!\d))\d{1,2}|10[0-7])"
    ended = rf"\x1b\[(?!(?:{colour}(?:;{colour})*)?m)[0-?]*[ -/]*[@-~]?|\x1b(?!\[)"
    text = re.sub(ended, "", re.sub(r"\x1b\[[34]8m", "", _text(text)))
    return re.sub(r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f]", "", text)


# ---- Markdown ----

class _Live(Exception):
    """The text would render to something live."""


class _Checked(IPythonRenderer):
    """nbconvert's own renderer, which stops where it would let something live through."""

    def _stop(self, *args, **kwargs):
        raise _Live

    # nbconvert does not escape what stands in a mermaid block.
    block_html = inline_html = block_mermaidjs = _stop

    def link(self, text, url, title=None):
        if not re.match(LINK, url):
            raise _Live
        return super().link(text, url, title)

    def image(self, text, url, title=None):
        # An image from elsewhere tells when it is looked at; a missing attachment ends nbconvert.
        if url.removeprefix("attachment:") not in self.attachments or not url.startswith("attachment:"):
            raise _Live
        return super().image(text, url, title)


# Every tag and attribute that the renderer writes; anything else in its HTML is live.
TAGS = {name: {} for name in
        "p em strong del pre ul ol li br hr blockquote table thead tbody tr th td dl dt dd".split()}
TAGS |= {f"h{n}": {"id": r".*"} for n in range(1, 7)} | {
    "a": {"href": rf"{LINK}.*", "title": ".*", "class": "anchor-link"},
    "img": {"src": rf"data:(?:{'|'.join(IMAGES)});base64,[\w+/=]*", "alt": ".*", "title": ".*"},
    "th": {"style": r"text-align:\w+"}, "td": {"style": r"text-align:\w+"}, "ol": {"start": r"\d+"},
    "code": {"class": r"language-\S*"}, "div": {"class": "highlight"}, "span": {"class": r"[\w-]*"},
    "li": {"class": "task-list-item"},
    "input": {"class": "task-list-item-checkbox", "type": "checkbox", "disabled": "", "checked": ""}}
TAG = re.compile(r'<(/?)(\w+)((?:\s+[\w-]+(?:="[^"<>]*")?)*)\s*/?>')


def _harmless(text, names, ids):
    """Does nbconvert render the text, and to nothing but tags and attributes of its own?"""
    if len(text) > LONG or _is_slow(text):
        return False
    try:
        page = MarkdownWithMath(renderer=_Checked(escape=False, attachments=names)).render(text)
    except Exception:  # noqa: BLE001  what cannot be rendered here ends nbconvert later
        return False
    for _, name, attributes in TAG.findall(page):
        for key, value in re.findall(r'([\w-]+)(?:="([^"]*)")?', attributes):
            if key not in TAGS.get(name, ()) or not re.fullmatch(TAGS[name][key], html.unescape(value), re.DOTALL):
                return False
            if key == "id" and _is_taken(html.unescape(value), ids):
                return False
    if any(name not in TAGS for _, name, _ in TAG.findall(page)) or "<" in TAG.sub("", page):
        return False
    # MathJax leaves code alone, and joins no text across tags but line breaks.
    prose = re.sub(r"<(pre|code)\b.*?</\1>", "\0", page, flags=re.DOTALL)
    return not MACRO.search(html.unescape(TAG.sub("\0", prose)))


def _is_taken(name, ids):
    return bool(name in ids or TAKEN.fullmatch(name))


def _is_slow(text):
    """Has it so many marks that begin something that nbconvert would look for each one's end in all of the text?"""
    return sum(map(text.count, ("`", "~", "$$", "\\begin{", "\\\\[", "\\\\(", "[", "<"))) > 2000


def _is_fenced(text):
    """Is it already one block of code, and nothing else?"""
    fence = re.match(r"(`{3,})\n", text)
    if not fence or not text.endswith("\n" + fence[1]) or len(text) < 2 * len(fence[1]) + 2:
        return False
    return fence[1] not in text[len(fence[1]):-len(fence[1])]


CODE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]*[ \t]*$"  # a fenced block,
                  r"|(?:^(?: {4}|\t)[^\n]+(?:\n|\Z))+"  # an indented one,
                  r"|(?<!`)(?P<tick>`+)(?!`)(?:[^\n]|\n(?!\n))+?(?<!`)(?P=tick)(?!`)",  # code within a line
                  re.MULTILINE | re.DOTALL)
CODE_AND_MATH = re.compile(CODE.pattern + r"|\$\$.+?\$\$|(?<![\\$])\$[^$\n]+\$"
                           r"|\\begin\{(?P<env>[a-z]*\*?)\}.*?\\end\{(?P=env)\}", CODE.flags)
NOTHING = re.compile(r"(?!)")


def _as_typed(text, code, strict, names, ids):
    """The text with what would be live escaped, outside of what `code` finds; a guess, to be checked."""
    parts, at = [], 0
    for m in code.finditer(text):
        parts += [_escaped(text[at:m.start()], strict, names, ids), _tamed_code(m[0])]
        at = m.end()
    return "".join([*parts, _escaped(text[at:], strict, names, ids)])


def _tamed_code(code):
    if code[0] in "$\\" and MACRO.search(code):  # a formula: shown as typed
        return f"\n\n{fenced(code)}\n\n" if "\n" in code else _code_span(code)
    return re.sub(r"^( {0,3}(?:`{3,}|~{3,})[ \t]*)mermaid", r"\1text mermaid", code)


def _code_span(code):
    ticks = "`" * (1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{ticks} {code} {ticks}" if "`" in code else f"{ticks}{code}{ticks}"


def _escaped(prose, strict, names, ids):
    def image(m):
        return m[0] if m[1].removeprefix("attachment:") in names and not strict else "\\" + m[0]

    def heading(m):
        taken = strict or _is_taken(m[1].strip().replace(" ", "-"), ids)
        return m[0].rstrip() + " &nbsp;" if taken else m[0]  # the blank keeps the id from being that of a box

    prose = re.sub(r"<(?=[A-Za-z/!?])(?!(?:https?://|mailto:)[^\s<>]*>)", "&lt;", prose)
    prose = re.sub(r"^ {0,3}#{1,6}[ \t]+([^\n]*)$", heading, prose, flags=re.MULTILINE)
    prose = re.sub(r"!(?=\[[^\]\n]*\](?:\(([^)\s]*)\))?)", lambda m: image(m) if m[1] else "\\!", prose)
    if strict:
        prose = re.sub(r"[\[\]]", r"\\\g<0>", prose)
    else:
        known = "".join(rf"|attachment:{re.escape(name)}\)" for name in names)
        prose = re.sub(rf"\](?=\((?!\s*<?(?:{LINK}{known})))", r"\\]", prose)
        prose = re.sub(rf"^( {{0,3}}\[[^\]\n]*)\](?=:(?!\s*<?{LINK}))", r"\1\\]", prose, flags=re.MULTILINE)
    return MACRO.sub(lambda m: _code_span(m[0]), prose)


# ---- Outputs ----

HTML_TAGS = {*"table caption thead tbody tfoot tr th td p div span br hr b strong i em u s del small sub sup code pre "
             "blockquote ul ol li dl dt dd h1 h2 h3 h4 h5 h6 a".split()}
HTML_ATTRIBUTES = {"*": set(), "a": {"href"}, "ol": {"start"}}
HTML_ATTRIBUTES |= {tag: {"colspan", "rowspan", "style"} for tag in ("td", "th")}
HTML_ATTRIBUTES |= {tag: {"style"} for tag in ("span", "div", "p", "table", "tr")}
# What pandas and cnnlab's own report use, and nothing that lays one thing over another or hides it.  No blanks are
# skipped before a value, which may begin with them: two ways to read each blank take exponential time.
VALUE = r"(?:(?:rgb|hsl)a?\([\d\s.,%]*\)|[#\w\s.%-])+"
STYLE = re.compile(r"\s*(?:(?:(?:color|background(?:-color)?|text-align|vertical-align|white-space|outline|padding"
                   r"|font-(?:weight|style|size|variant-numeric)|border(?:-left|-collapse)?|max-width|flex-wrap)"
                   rf"\s*:{VALUE}|margin(?:-right)?\s*:[\w\s.%]+|display\s*:\s*flex\s*)(?:;\s*|$))*")


def _bundle(given):
    """The mime bundle with only what is safe to show."""
    data = {}
    for mime in ("image/png", "image/jpeg"):
        if picture := _base64(given.get(mime)):
            data[mime] = picture
    if page := _html(_text(given.get("text/html"))):
        data["text/html"] = page
    if words := _cut(_text(given.get("text/markdown"))):
        data["text/markdown"] = markdown(words)
    formula = _cut(_text(given.get("text/latex")))
    if formula and not MACRO.search(formula):
        data["text/latex"] = formula  # nbconvert escapes it, MathJax reads it
    if plain := terminal(_cut(_text(given.get("text/plain")))):
        data["text/plain"] = plain
    # `<IPython.core.display.SVG object>` says nothing about what was displayed.
    if not data or data.keys() == {"text/plain"} and re.fullmatch(r"<IPython\.core\.display\.\w+ object>", plain):
        texts = [_text(v) for m, v in given.items() if isinstance(m, str) and m not in (*IMAGES, "text/plain")]
        if text := terminal(_cut(next((t for t in texts if t.strip()), ""))):
            data["text/plain"] = text
    return data


def _cut(text):
    """The beginning of a text, with a line that says how much of it was left out."""
    if len(text) <= KEPT:
        return text
    shown = KEPT - 100  # room for the line
    return f"{text[:shown]}\n... {len(text) - shown} more characters left out"


def _html(page):
    """The HTML without anything live, "" if nothing to see is left of it."""
    # A table as pandas shows it has fewer and shorter tags; nh3 takes quadratic time for nested and for huge ones.
    if len(page) > 2_000_000 or page.count("<") > 10_000 or re.search(r"<[^>]{4000}", page):
        return ""
    clean = nh3.clean(page, tags=HTML_TAGS, clean_content_tags={"script", "style", "title", "noscript", "template"},
                      attributes=HTML_ATTRIBUTES, attribute_filter=_attribute, url_schemes={"http", "https", "mailto"},
                      allowed_classes={"table": {"dataframe"}}, link_rel="noopener noreferrer")
    deepest = depth = 0
    for end, name in re.findall(r"<(/?)(\w+)", clean):
        depth += 0 if name in ("br", "hr") else -1 if end else 1
        deepest = max(deepest, depth)
    if deepest > 100 or not re.sub(r"<[^>]*>|\s|&nbsp;", "", clean):
        return ""
    return MACRO.sub(lambda m: f"<span>\\</span>{m[0][1:]}", clean)


def _attribute(tag, name, value):
    if name == "style":
        return value if len(value) < 500 and STYLE.fullmatch(value) else None
    if name == "href":
        return value if re.match(r"https?://|mailto:", value) else None
    if name in ("colspan", "rowspan", "start"):
        return value if re.fullmatch(r"\d{1,3}", value) else None
    return value


def _base64(data):
    """The base64 text without blanks, "" if it is not valid."""
    data = "".join(_text(data).split())
    try:
        return data if base64.b64decode(data, validate=True) else ""
    except (binascii.Error, ValueError):
        return ""


def _plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", terminal(text))


def _text(value):
    """A string, or a list of strings as nbformat writes them; "" for anything else.  Half a character becomes �."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else ""
