"""Find the notebooks in what a class handed in: a folder or a zip, arranged in one of a few ways.

    STUDENT/NN_slug.ipynb             STUDENT/anything/NN_slug.ipynb
    STUDENT_NN_slug.ipynb             any of these inside one more folder, or in a folder per notebook
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

MAX_BYTES = 50 * 2**20  # a notebook with all its figures is a few megabytes
STUDENT = re.compile(r"\w[\w.@+'-]*(?: [\w.@+'-]+)*")
COPY = re.compile(r"(?:[ _]?\(\d+\)|-Copy\d+|-\d+)$")  # what browsers, Jupyter and Canvas add to a second copy
WHOSE = "whose is it?"  # how the problem begins where two students might be taken for one
HIDDEN = re.compile(r"\.[^.]|__MACOSX$")  # .ipynb_checkpoints, and what a Mac adds to a zip
# What platforms add to a name.  The user's number stays, since two may have one name.
MOODLE = re.compile(r"_assignsubmission_file_?$")  # of a folder
CANVAS = re.compile(r"(?:_LATE)?(_\d{3,})_\d{3,}$")  # of a file; the second number is that of the attempt


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
    files = [f for f in files if not any(HIDDEN.match(p) for p in f.path.parts)]
    names = {f.path: _notebook(f.path, notebooks) for f in files if not f.problem}
    skip = _shared_folder([_without_notebooks(p, notebooks) for p, name in names.items() if name], names)
    # The least deep first, and the plain name before a copy: of two that are one student's, the first is taken.
    files.sort(key=lambda f: (len(f.path.parts), bool(COPY.search(f.path.stem)), str(f.path)))
    items = [_collected(f, names.get(f.path), skip, notebooks) for f in files]
    groups = defaultdict(list)
    for item in items:
        if not item.problem:
            groups[item.student, item.notebook].append(item)
    for item in items:
        group = groups[item.student, item.notebook] if not item.problem else [item]
        if any(not _same_work(group[0], other) for other in group):
            others = ", ".join(g.path for g in group if g is not item)
            yield replace(item, problem=f"{WHOSE} {item.student!r} would have this and {others}; give "
                                        "each student a folder of their own")
        elif item is not group[0]:
            yield replace(item, problem=f"left out, because {group[0].path} is the same student's")
        else:
            yield item


def _same_work(first, other):
    """Are two files that go by one student's name surely one student's: a copy, or an older one further down?"""
    a, b = PurePosixPath(first.path), PurePosixPath(other.path)
    stems = {COPY.sub("", p.stem) for p in (a, b)}
    return first.content == other.content or (len(stems) == 1 and b.is_relative_to(a.parent))


def _collected(file, notebook, skip, notebooks):
    path = str(file.path)
    if file.problem:
        return Collected(path, problem=file.problem)
    if not notebook:
        what = "a notebook of this course" if file.path.suffix == ".ipynb" else "a notebook"
        return Collected(path, problem=f"not {what}, left out")
    parts = _without_notebooks(file.path, notebooks).parts[skip:]
    name = MOODLE.sub("", parts[0]) if len(parts) > 1 else CANVAS.sub(r"\1", _prefix(file.path, notebook))
    student = " ".join(unicodedata.normalize("NFC", name).replace("’", "'").split())
    if not student:
        return Collected(path, problem="no student: put it in a folder with the student's name, or name it "
                                       f"STUDENT_{notebook}.ipynb")
    if not STUDENT.fullmatch(student):
        return Collected(path, problem=f"the student's name {student!r} may hold letters, digits, spaces and "
                                       ". _ - + @ ', and begins with a letter or digit")
    try:
        return Collected(path, student, notebook, file.read(), file.time)
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as e:
        return Collected(path, problem=f"cannot be read: {e}")


def _notebook(path, notebooks):
    stem = COPY.sub("", path.stem)
    fits = [n for n in notebooks if stem == n or stem.endswith((f"_{n}", f"-{n}", f" {n}"))]
    return fits[0] if fits and path.suffix == ".ipynb" else ""


def _prefix(path, notebook):
    """What stands before the notebook in a file's name: the student in STUDENT_NOTEBOOK.ipynb."""
    return COPY.sub("", path.stem)[:-len(notebook) - 1]


def _without_notebooks(path, notebooks):
    """The path without folders named after a notebook or by nbgrader: they are never a student."""
    return PurePosixPath(*(p for p in path.parts if p not in (*notebooks, "submitted")))


def _shared_folder(paths, names):
    """1 if all lie in one folder that holds several students' folders or files, as in many zips; else 0."""
    if len({p.parts[0] for p in paths}) != 1 or not all(len(p.parts) > 1 for p in paths):
        return 0
    folders = {p.parts[1] for p in paths if len(p.parts) > 2}
    prefixes = {_prefix(p, n) for p, n in names.items() if n} if not folders else set()
    # Only files: several STUDENT_NOTEBOOK.ipynb in a folder, or one student's own notebooks?
    return 1 if len(folders) > 1 and all(len(p.parts) > 2 for p in paths) or len(prefixes - {""}) > 1 else 0


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
        if info.is_dir():
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
