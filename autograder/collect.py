"""Find the notebooks in what a class handed in: a folder or a zip, arranged in one of a few ways.

    STUDENT/NN_slug.ipynb             STUDENT/anything/NN_slug.ipynb
    STUDENT_NN_slug.ipynb             any of these inside one more folder, or in a folder per notebook
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

MAX_BYTES = 50 * 2**20  # a notebook with all its figures is a few megabytes
STUDENT = re.compile(r"\w[\w.@+'-]*(?: [\w.@+'-]+)*")
COPY = re.compile(r"(?:[ _]?\(\d+\)|-Copy\d+|-\d+)$")  # what browsers, Jupyter and Canvas add to a second copy
# What Moodle and Canvas add to a name.  The user's number stays, since two may have one name; the number
# of the attempt goes, since the next attempt is the same student's.
PLATFORM = re.compile(r"(?:_LATE)?(_\d+)_(?:assignsubmission_file_?|\d+)$")


@dataclass(frozen=True)
class Collected:
    """One file found: whose, which notebook, its bytes, when it was last changed.

    problem: why it was left out, or "".  note: what was done with it.
    """

    path: str
    student: str = ""
    notebook: str = ""
    content: bytes = b""
    time: datetime = datetime.min
    problem: str = ""
    note: str = ""

    def with_note(self, note: str) -> Collected:
        return replace(self, note=note)


@dataclass(frozen=True)
class File:
    """A file in the folder or zip, not read yet."""

    path: PurePosixPath
    time: datetime
    read: Callable[[], bytes]
    problem: str = ""


def found_notebooks(path: Path, notebooks: list[str]) -> Iterator[Collected]:
    """Every file in `path`, a folder or a zip, as a Collected; one for each student and notebook.

    Raises ValueError if `path` is neither.
    """
    if path.is_dir():
        files = list(_in_folder(path))
        yield from _identify(files, notebooks)
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from _identify(list(_in_zip(archive)), notebooks)
    else:
        raise ValueError(f"{path} is neither a folder nor a zip file; "
                         "give the folder or the zip that holds the submissions.")


def _identify(files, notebooks):
    names = {f.path: _notebook(f.path, notebooks) for f in files if not f.problem}
    skip = _shared_folder([_without_notebooks(p, notebooks) for p, name in names.items() if name])
    taken = {}
    # The least deep first, and the plain name before a copy: of two, the first is taken.
    for file in sorted(files, key=lambda f: (len(f.path.parts), bool(COPY.search(f.path.stem)), str(f.path))):
        item = _collected(file, names.get(file.path), skip, notebooks)
        whose = item.student, item.notebook
        if not item.problem and whose in taken:
            item = replace(item, problem=f"left out, because {taken[whose]} is the same student's")
        taken.setdefault(whose, item.path)
        yield item


def _collected(file, notebook, skip, notebooks):
    path = str(file.path)
    if file.problem:
        return Collected(path, problem=file.problem)
    if not notebook:
        what = "a notebook of this course" if file.path.suffix == ".ipynb" else "a notebook"
        return Collected(path, problem=f"not {what}, left out")
    parts = _without_notebooks(file.path, notebooks).parts[skip:]
    stem = COPY.sub("", file.path.stem)
    name = parts[0] if len(parts) > 1 else stem[:-len(notebook) - 1]
    student = unicodedata.normalize("NFC", PLATFORM.sub(r"\1", name))
    if not student:
        return Collected(path, problem="no student: put it in a folder with the student's name, or name it "
                                       f"STUDENT_{notebook}.ipynb")
    if not STUDENT.fullmatch(student):
        return Collected(path, problem=f"the student's name {student!r} may hold letters, digits, single "
                                       "spaces and . _ - + @ ', and begins with a letter or digit")
    try:
        return Collected(path, student, notebook, file.read(), file.time)
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as e:
        return Collected(path, problem=f"cannot be read: {e}")


def _notebook(path, notebooks):
    stem = COPY.sub("", path.stem)
    fits = [n for n in notebooks if stem == n or stem.endswith((f"_{n}", f"-{n}"))]
    return fits[0] if fits and path.suffix == ".ipynb" else ""


def _without_notebooks(path, notebooks):
    """The path without folders named after a notebook: they are never a student."""
    return PurePosixPath(*(p for p in path.parts if p not in notebooks))


def _shared_folder(paths):
    """1 if all lie in one folder that holds several students' folders or files, as in many zips; else 0."""
    if len({p.parts[0] for p in paths}) != 1 or not all(len(p.parts) > 1 for p in paths):
        return 0
    below = {p.parts[1] for p in paths if len(p.parts) > 2}
    files = {COPY.sub("", p.stem) for p in paths if len(p.parts) == 2}
    if below:
        return 1 if len(below) > 1 and not files else 0
    # Only files: several STUDENT_NOTEBOOK.ipynb in a folder, or one student's own notebooks?
    return 1 if len({re.sub(r"[_-]?\d\d_\w+$", "", f) for f in files} - {""}) > 1 else 0


def _in_folder(root):
    for path in sorted(root.rglob("*")):
        name = PurePosixPath(path.relative_to(root).as_posix())
        if path.is_symlink():
            yield File(name, datetime.min, path.read_bytes, "a link, left out")
        elif path.is_file():
            stat = path.stat()
            yield File(name, datetime.fromtimestamp(stat.st_mtime, UTC), path.read_bytes, _too_big(stat.st_size))


def _in_zip(archive):
    for info in archive.infolist():
        if info.is_dir() or info.filename.startswith("__MACOSX/"):
            continue
        name, problem = PurePosixPath(info.filename), _too_big(info.file_size)
        if ".." in name.parts or name.is_absolute() or "\\" in info.filename:
            problem = "its path leads out of the zip, left out"
        elif (info.external_attr >> 16) & 0o170000 == 0o120000:
            problem = "a link, left out"
        # A zip has local times without a zone.
        time = datetime(*info.date_time).astimezone(UTC)
        yield File(name, time, lambda info=info: archive.read(info), problem)


def _too_big(size):
    return f"larger than {MAX_BYTES >> 20} MB, left out" if size > MAX_BYTES else ""
