"""Find the notebooks in what a class handed in: a folder or a zip, arranged in one of a few ways.

    STUDENT/NN_slug.ipynb             STUDENT/anything/NN_slug.ipynb
    STUDENT_NN_slug.ipynb             any of these inside one more folder
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

MAX_BYTES = 50 * 2**20  # a notebook with all its figures is a few megabytes
STUDENT = re.compile(r"[\w.@+-]+(?: [\w.@+-]+)*")


@dataclass(frozen=True)
class Collected:
    """One file found: whose, which notebook, its bytes; `problem` says why it was left out."""

    path: str
    student: str = ""
    notebook: str = ""
    content: bytes = b""
    problem: str = ""
    note: str = ""

    def with_note(self, note: str) -> Collected:
        return replace(self, note=note)


def found_notebooks(path: Path, notebooks: list[str]) -> Iterator[Collected]:
    """Every file in `path`, a folder or a zip, as a Collected.

    Raises ValueError if `path` is neither.
    """
    if path.is_dir():
        files = _in_folder(path)
    elif path.is_file() and zipfile.is_zipfile(path):
        files = _in_zip(path)
    else:
        raise ValueError(f"{path} is neither a folder nor a zip file; "
                         "give the folder or the zip that holds the submissions.")
    found = list(files)
    skip = _shared_folder([PurePosixPath(name) for name, _, _ in found], notebooks)
    for name, read, problem in found:
        if problem:
            yield Collected(name, problem=problem)
        else:
            yield _identify(name, PurePosixPath(*PurePosixPath(name).parts[skip:]), read, notebooks)


def _identify(name, path, read, notebooks):
    if path.suffix != ".ipynb":
        return Collected(name, problem="not a notebook, left out")
    fits = [n for n in notebooks if path.stem == n or path.stem.endswith((f"_{n}", f"-{n}"))]
    if not fits:
        return Collected(name, problem="not a notebook of this course, left out")
    notebook = fits[0]
    student = path.parts[0] if len(path.parts) > 1 else path.stem[:-len(notebook) - 1]
    if not STUDENT.fullmatch(student):
        return Collected(name, problem="no student: put it in a folder with the student's name, or name it "
                                       f"STUDENT_{notebook}.ipynb")
    return Collected(name, student, notebook, read())


def _shared_folder(paths, notebooks):
    """1 if everything lies in one folder that is not a student's, as in many zips; else 0."""
    tops = {p.parts[0] for p in paths}
    if len(tops) != 1 or not all(len(p.parts) > 1 for p in paths):
        return 0
    below = {p.parts[1] for p in paths if p.suffix == ".ipynb"}
    own = {f"{n}.ipynb" for n in notebooks} | set(notebooks)
    return 0 if below & own else 1


def _in_folder(root):
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield name, None, "a link, left out"
        elif path.is_file():
            too_big = path.stat().st_size > MAX_BYTES
            yield name, path.read_bytes, f"larger than {MAX_BYTES >> 20} MB, left out" if too_big else ""


def _in_zip(path):
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or info.filename.startswith("__MACOSX/"):
                continue
            parts = PurePosixPath(info.filename).parts
            problem = ""
            if ".." in parts or info.filename.startswith("/") or "\\" in info.filename:
                problem = "its path leads out of the zip, left out"
            elif (info.external_attr >> 16) & 0o170000 == 0o120000:
                problem = "a link, left out"
            elif info.file_size > MAX_BYTES:
                problem = f"larger than {MAX_BYTES >> 20} MB, left out"
            content = b"" if problem else archive.read(info)
            yield info.filename, lambda content=content: content, problem
