"""The index of papers, gathered from the sections "Where to read …" at the end of the notebooks."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from nbformat import NotebookNode

SECTION = re.compile(r"^## Where to read", re.MULTILINE)
TITLE = re.compile(r"\*([^*]+)\*")


@dataclass
class Paper:
    """A work that notebooks refer to.

    uses: by the slug of the notebook, what it is used for there, or "".
    """

    title: str
    authors: str = ""
    year: int = 0
    uses: dict[str, str] = field(default_factory=dict)


def gather(notebooks: dict[str, NotebookNode]) -> list[Paper]:
    """Every work that the notebooks refer to, by year and authors.

    The same title, or its part before the colon, is the same work; the longest title and most authors are kept.
    """
    found = defaultdict(list)
    for slug, notebook in notebooks.items():
        before = ""
        for item in _items(notebook):
            for paper in _read(item, slug, before):
                found[_key(paper.title)].append(paper)
                before = paper.authors
    merged = [_merge(papers) for papers in found.values()]
    return sorted(merged, key=lambda p: (p.year or 9999, p.authors, p.title))


def as_markdown(papers: list[Paper], titles: dict[str, str]) -> str:
    """The page.  titles: of the notebooks, by slug."""
    count = f"The {len(papers)} works that the notebooks refer to, by year, and where each is used."
    lines = ["# Papers", "", count, ""]
    for paper in papers:
        lines += [f"- {paper.authors}{', ' * bool(paper.authors)}*{paper.title}*, {paper.year or ''}".rstrip(", ")]
        for slug, use in paper.uses.items():
            lines.append(f"  - [{titles[slug]}](notebooks/{slug}.ipynb){': ' * bool(use)}{use}")
        lines.append("")
    return "\n".join(lines)


def _items(notebook):
    """The list items from the section's heading to the next, each on one line."""
    inside = False
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        if re.match(r"#{1,2} ", cell.source):
            inside = bool(SECTION.match(cell.source))
        if inside:
            for item in re.split(r"^- ", cell.source, flags=re.MULTILINE)[1:]:
                yield " ".join(item.split())


def _read(item, slug, before):
    """The works of one item: authors, *title*, place and year: what it is used for."""
    titles = list(TITLE.finditer(item))
    papers = []
    for n, title in enumerate(titles):
        start = titles[n - 1].end() if n else 0
        end = titles[n + 1].start() if n + 1 < len(titles) else len(item)
        where, _, use = item[title.end():end].partition(": ")
        authors = _authors(item[start:title.start()], n, before if n == 0 else papers[0].authors)
        year = re.findall(r"\b(?:1[89]|20)\d\d\b", where)
        use = re.sub(r"; and$", "", use.strip()).strip(" .;")
        papers.append(Paper(title[1], authors, int(year[0]) if year else 0, {slug: use}))
    return papers


def _authors(text, number, before):
    """Who is named in the text that leads to a title: to the first of an item, number 0, or to a later one.

    before: the authors of the work before, who stay where only "and" or "The same" is said.
    """
    if number:
        text = re.sub(r"^(and|[^;]*\d{4}[^;]*?(; |, )(and )?|[^;]*; and)", "", text.strip())
    text = text.strip(" ,;")
    if text in ("", "and", "The same"):
        return before
    return text if number == 0 or re.match(r"[A-Z]\w+ [A-Z]", text) else ""  # "section VII of" names nobody


def _key(title):
    return re.sub(r"\W+", " ", title.partition(":")[0].lower()).strip()


def _merge(papers):
    whole = Paper(max((p.title for p in papers), key=len), max((p.authors for p in papers), key=len),
                  min((p.year for p in papers if p.year), default=0))
    for paper in papers:
        for slug, use in paper.uses.items():
            whole.uses[slug] = "; ".join(filter(None, dict.fromkeys([whole.uses.get(slug, ""), use])))
    return whole
