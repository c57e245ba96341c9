"""The website: the sources of its pages, laid out as in the repository so that links hold, and Sphinx over them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat

from autograder import build, sources
from autograder.exercise import load_all
from autograder.site import pages, papers
from autograder.site.run import PageError, executed
from cnnlab.course import NOTEBOOKS, PARTS

DOCS = sources.ROOT / "docs"
WIDGETS = sources.ROOT / "cnnlab" / "widgets"


def site(out: Path, work: Path, only: list[str], progress: Callable[[Iterable], Iterable]) -> None:
    """Build the site in `out`, with what is kept for the next time in `work`.

    only: numbers or slugs of notebooks, none for all.  Raises PageError, or SourceError.
    """
    exercises = load_all()
    slugs = _chosen(only)
    source = build.source_notebooks({s: exercises.get(s, []) for s in slugs})
    index = papers.gather(source)
    notebooks, static = {}, work / "static"
    for slug in progress(slugs):
        ran = executed(slug, source[slug], [e.id for e in exercises.get(slug, [])], work / "executed")
        student = nbformat.read(build.NOTEBOOKS / f"{slug}.ipynb", as_version=4)
        notebooks[slug] = pages.page(slug, slugs, ran, student, static / "figures")
    titles = {slug: _title(slug) for slug in slugs}
    texts = {f"notebooks/{slug}.ipynb": nbformat.writes(n) for slug, n in notebooks.items()}
    texts |= {f"docs/{p.name}": p.read_text(encoding="utf-8") for p in DOCS.glob("*.md") if p.stem != "index"}
    texts["data/README.md"] = (sources.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    texts["papers.md"] = papers.as_markdown(index, titles)
    texts["index.md"] = (DOCS / "index.md").read_text(encoding="utf-8") + _contents(slugs)
    _lay_out(work / "pages", texts)
    _copy_assets(static, slugs)
    _forget_figures(static / "figures", texts)
    shutil.rmtree(out, ignore_errors=True)  # pages that are no longer made would stay
    _run_sphinx(work, out)


def _chosen(only):
    slugs = sources.slugs()
    unknown = [name for name in only if not any(name in (s, s[:2]) for s in slugs)]
    if unknown:
        raise PageError(f"there is no notebook {unknown[0]}; there are {', '.join(s[:2] for s in slugs)}.")
    return [s for s in slugs if not only or s in only or s[:2] in only]


def _title(slug):
    return f"{slug[:2]} {NOTEBOOKS[int(slug[:2])].title}"


def _contents(slugs):
    """The end of the first page: a table of the notebooks, and the order of all pages."""
    rows = ["| notebook | what it gives |", "|---|---|"]
    rows += [f"| [{_title(s)}](notebooks/{s}.ipynb) | {NOTEBOOKS[int(s[:2])].gives} |" for s in slugs]
    trees = [(f"The course, {where}", [f"notebooks/{s}" for s in slugs if first <= int(s[:2]) <= last])
             for first, last, where in PARTS]
    trees += [("To read more", ["papers", "data/README"]),
              ("Guides", [f"docs/{name}" for name in ("student", "reader", "instructor", "contributor")])]
    tree = "\n".join("```{toctree}\n:hidden:\n:caption: " + f"{caption}\n\n" + "\n".join(names) + "\n```\n"
                     for caption, names in trees if names)
    return "\n" + "\n".join(rows) + "\n\n" + tree


def _lay_out(folder, texts):
    """Write what differs and remove what is no longer wanted: Sphinx reads again only what is newer."""
    for path in folder.rglob("*.*"):
        if path.suffix in (".md", ".ipynb") and str(path.relative_to(folder)) not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in DOCS.rglob("*"):
        if path.suffix in (".png", ".svg", ".webp"):
            (folder / "docs" / path.relative_to(DOCS)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "docs" / path.relative_to(DOCS))


def _copy_assets(static, slugs):
    """MathJax with its fonts, the widgets' scripts, and the notebooks to download."""
    import jupyter_server_mathjax

    mathjax = Path(jupyter_server_mathjax.__file__).parent / "static"
    unused = shutil.ignore_patterns("localization", "a11y", "HelpDialog.js")
    if not (static / "mathjax").is_dir():
        shutil.copytree(mathjax, static / "mathjax", ignore=unused)
    for name in ("widgets", "download"):
        shutil.rmtree(static / name, ignore_errors=True)
        (static / name).mkdir()
    for path in WIDGETS.glob("*.[jc]s*"):
        shutil.copy(path, static / "widgets")
    for slug in slugs:
        shutil.copy(build.NOTEBOOKS / f"{slug}.ipynb", static / "download")


def _forget_figures(folder, texts):
    """Remove the pictures that no page shows any more."""
    shown = "\n".join(texts.values())
    for path in folder.glob("*.webp"):
        if path.name not in shown:
            path.unlink()


def _run_sphinx(work, out):
    """Sphinx, for which a warning is an error; in a process of its own, as it sets up logging for itself."""
    options = ["-c", DOCS, "-d", work / "doctrees", "-q", "-W", "--keep-going", "-j", "auto",
               "-D", f"html_static_path=_static,{work / 'static'}"]
    if subprocess.run([sys.executable, "-m", "sphinx", *options, work / "pages", out]).returncode:
        raise PageError("Sphinx could not make the pages; the lines above say why.")
