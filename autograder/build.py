"""Build what is not written by hand: notebooks/ from solutions/, cnnlab/exercises/ from the entries, outline, map."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import nbformat
from nbgrader.converters import GenerateAssignment

from autograder import nbg, sources
from autograder.exercise import Exercise, load_all, ship
from cnnlab import course, outline
from cnnlab.compare import same
from cnnlab.probes import FOLDER, decode, to_json

NOTEBOOKS = sources.ROOT / "notebooks"
MAP = sources.ROOT / "docs" / "course-map.svg"
WORK = sources.ROOT / "work"  # where `make lab` lets people work


def main() -> None:
    """Bring notebooks/, cnnlab/exercises/ and the map up to date and say what changed."""
    sources.need_repository()
    changed = build()
    print("\n".join(f"wrote {p.relative_to(sources.ROOT)}" for p in changed) or "Everything is up to date.")


def build() -> list[Path]:
    """Write what differs; return the files written or removed."""
    exercises = load_all()
    check_entries(exercises)
    released = release(exercises)
    wanted = {NOTEBOOKS / f"{slug}.ipynb": text for slug, text in released.items()}
    keep_work(NOTEBOOKS, wanted)
    changed = _write(NOTEBOOKS, "*.ipynb", wanted, lambda old, new: old == new)
    shipped = {FOLDER / f"{e.id}.json": _dumps(to_json(ship(e, sources.function_name(slug, e.id))))
               for slug, entries in exercises.items() for e in entries}
    changed += _write(FOLDER, "*.json", shipped, _same_data)
    for path, text in ((outline.FILE, outline_of(released)), (MAP, course.map_as_svg())):
        changed += _write(path.parent, path.name, {path: text}, lambda old, new: old == new)
    return changed


def outline_of(released: dict[str, str]) -> str:
    """The text of cnnlab/outline.json: for each student notebook its title, and each exercise with its stub."""
    notebooks = {}
    for slug, text in released.items():
        cells = json.loads(text)["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0]
        marked = {c["metadata"]["nbgrader"]["grade_id"]: c for c in cells if "nbgrader" in c["metadata"]}
        notebooks[slug] = {"title": title.removeprefix(f"# {slug[:2]} "), "exercises": {
            name: {"points": marked[f"check_{name}"]["metadata"]["nbgrader"]["points"],
                   "function": sources.function_name(slug, name), "stub": "".join(marked[name]["source"])}
            for name in sources.exercise_ids(slug)}}
    return json.dumps(notebooks, ensure_ascii=False, indent=1) + "\n"


def keep_work(folder: Path, wanted: dict[Path, str]) -> list[Path]:
    """Copy to work/ every notebook in `folder` that somebody has run and that would be replaced."""
    kept = []
    for path in sorted(folder.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if text != wanted.get(path) and re.search(r'"execution_count": \d', text):
            WORK.mkdir(exist_ok=True)
            kept.append(WORK / f"{path.stem}-{datetime.now():%Y-%m-%d-%H%M%S}.ipynb")
            shutil.copy(path, kept[-1])
            print(f"{path.name} had been worked in; it is kept as {kept[-1]}.")
    return kept


def check_entries(exercises: dict[str, list[Exercise]]) -> None:
    """Every exercise has a graded cell and every graded cell an exercise.  Raises SourceError."""
    for slug in sorted({*exercises, *sources.slugs()}):
        cells, entries = sources.exercise_ids(slug), [e.id for e in exercises.get(slug, [])]
        if cells != entries:
            raise sources.SourceError(
                f"{slug}: the graded cells are {cells}, the entries in autograder/exercises are {entries}; "
                "they must be the same, in the same order.")


def points(exercises: list[Exercise]) -> dict[str, float]:
    return {e.id: e.points for e in exercises}


def source_notebooks(exercises: dict[str, list[Exercise]]) -> dict[str, nbformat.NotebookNode]:
    """nbgrader's source version of every notebook, by slug: with solutions and mark schemes."""
    return {slug: sources.read(slug, points(entries)) for slug, entries in exercises.items()}


def release(exercises: dict[str, list[Exercise]]) -> dict[str, str]:
    """The student version of every notebook, by slug, as nbgrader's generate_assignment makes it."""
    with tempfile.TemporaryDirectory() as folder:
        root, texts = Path(folder), {}
        settings = nbg.config(root)
        settings.SaveCells.enabled = False
        settings.GenerateAssignment.no_database = True
        for slug, notebook in source_notebooks(exercises).items():
            place = root / "source" / slug
            place.mkdir(parents=True)
            nbformat.write(notebook, place / f"{slug}.ipynb")
            nbg.convert(GenerateAssignment, settings, slug)
            texts[slug] = _clean(nbformat.read(root / "release" / slug / f"{slug}.ipynb", as_version=4))
        return texts


def _clean(notebook):
    """The notebook's text with a whitelist of metadata, so that nothing else can change it."""
    notebook.metadata = {k: notebook.metadata[k] for k in ("kernelspec", "language_info")}
    for cell in notebook.cells:
        keep = ("nbgrader", "deletable", "editable")  # nbgrader locks graded cells with the last two
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in keep}
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _dumps(data):
    probes = ",\n".join("  " + json.dumps(p, ensure_ascii=False) for p in data.pop("probes"))
    head = json.dumps(data, ensure_ascii=False, indent=1)
    return f'{head[:-2]},\n "probes": [\n{probes}\n ]\n}}\n'


def _same_data(old, new):
    """Equal up to the last bits of floats, in which another processor may differ."""
    return _same_json(json.loads(old), json.loads(new))


def _same_json(old, new):
    if old == new:  # NaN too, which is a string here
        return True
    if isinstance(old, dict) and isinstance(new, dict):
        if "dtype" in old and "dtype" in new:
            return old.get("strided") == new.get("strided") and same(decode(old), decode(new))
        if "float" in old and "float" in new:
            return same(decode(old), decode(new))
        return list(old) == list(new) and all(_same_json(old[k], new[k]) for k in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same_json, old, new))
    return False


def _write(folder, pattern, wanted, equal):
    folder.mkdir(exist_ok=True)
    changed = []
    for path in set(folder.glob(pattern)) - set(wanted):
        path.unlink()
        changed.append(path)
    for path, text in wanted.items():
        if not path.is_file() or not equal(path.read_text(encoding="utf-8"), text):
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    main()
