"""Find the notebooks in what a class handed in: a folder or a zip, arranged in one of a few ways.

    STUDENT/NN_slug.ipynb             STUDENT/anything/NN_slug.ipynb
    STUDENT_NN_slug.ipynb             any of these inside one more folder, or in a folder per notebook

Of several attempts that a platform exports of one student the newest is taken.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

MAX_BYTES = 50 * 2**20  # a notebook with all its figures is a few megabytes
MAX_TOTAL = 2 * 2**30
MAX_FILES = 100_000
MAX_NAME = 100
STUDENT = re.compile(r"\w[\w.@+'-]*(?: [\w.@+'-]+)*")
COPY = re.compile(r"(?:[ _]?\(\d+\)|-Copy\d+|-\d+)$")  # what browsers, Jupyter and Canvas add to a second copy
WHOSE = "whose is it?"  # how the problem begins where two students might be taken for one
HIDDEN = re.compile(r"\.[^.]|__MACOSX$")  # .ipynb_checkpoints, and what a Mac adds to a zip
# What platforms add to a name.  The user's number stays, since two may have one name.
MOODLE = re.compile(r"_assignsubmission_file_?$")  # of a folder
CANVAS = re.compile(r"(?P<late>_LATE)?(?P<user>_\d{3,})_(?P<attempt>\d{3,})$")  # of a file
TIME = r"(?P<time>\d{4}-\d\d-\d\d[ _T-]\d\d[-:.]\d\d[-:.]\d\d(?:\.\d+)?)"
BLACKBOARD = re.compile(rf"_attempt_{TIME}$")  # of a file
EXCHANGE = re.compile(rf"\+[^+]+\+{TIME}(?:[ _]?(?P<zone>[A-Za-z]+))?(?:\+\w+)?$")  # of a folder, by nbgrader
# Names that Windows keeps for itself, with or without an ending.
RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
BOM = b"\xef\xbb\xbf"  # some editors put it before UTF-8 text; nbgrader cannot read it


@dataclass(frozen=True)
class Collected:
    """One file found: whose, which notebook, its bytes, when it was last changed.

    problem: why it was left out, or "".  note: what was done with it.  attempt: how the platform counts, and the
    number or time of this one, if its name says.
    """

    path: str
    student: str = ""
    notebook: str = ""
    content: bytes = b""
    time: datetime = datetime.min
    problem: str = ""
    note: str = ""
    attempt: tuple[str, str] | None = None

    def with_note(self, note: str) -> Collected:
        return replace(self, note=note)


@dataclass(frozen=True)
class File:
    """A file in the folder or zip, not read yet.  read: gives at most so many bytes."""

    path: PurePosixPath
    time: datetime
    read: Callable[[int], bytes]
    problem: str = ""


def found_notebooks(path: Path, notebooks: list[str]) -> Iterator[Collected]:
    """Every file in `path`, a folder or a zip, as a Collected; one for each student and notebook.

    Raises ValueError if `path` is neither, or cannot be read as a whole.
    """
    if path.is_dir():
        yield from _identify(_limited(_in_folder(path), path), notebooks)
    elif path.is_file() and zipfile.is_zipfile(path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as e:
            raise ValueError(f"{path} cannot be read as a zip ({e}); unpack it and give the folder.") from e
        with archive:
            yield from _identify(_limited(_in_zip(archive), path), notebooks)
    else:
        raise ValueError(f"{path} is neither a folder nor a zip file; "
                         "give the folder or the zip that holds the submissions.")


def _limited(files, path):
    files = list(islice(files, MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise ValueError(f"{path} holds more than {MAX_FILES:,} files; give the submissions in parts.")
    return files


def _identify(files, notebooks):
    files = [f for f in files if not any(HIDDEN.match(p) for p in f.path.parts)]
    names = {f.path: _notebook(f.path, notebooks) for f in files if not f.problem}
    skip = _shared_folder([_without_notebooks(p, notebooks) for p, name in names.items() if name], names)
    # The least deep first, and the plain name before a copy: of two that are one student's, the first is taken.
    # Of two with one name in a zip, the last: it is what unpacking leaves.
    files = [f for _, f in sorted(enumerate(files), key=lambda pair: (
        len(pair[1].path.parts), bool(COPY.search(pair[1].path.stem)), str(pair[1].path), -pair[0]))]
    left = [MAX_TOTAL]
    items = [_collected(f, names.get(f.path), skip, notebooks, left) for f in files]
    groups, spellings = defaultdict(list), defaultdict(set)
    for item in items:
        if not item.problem:
            groups[item.student, item.notebook].append(item)
            spellings[item.student.lower()].add(item.student)
    chosen = {key: _newest(group) for key, group in groups.items()}
    for item in items:
        if item.problem:
            yield item
            continue
        group, names = chosen[item.student, item.notebook], spellings[item.student.lower()]
        if len(names) > 1:
            yield replace(item, problem=f"{WHOSE} {' and '.join(sorted(names))} differ only in capitals, which some "
                                        "computers take for the same; rename one")
        elif not any(item is g for g in group):
            yield replace(item, problem=f"left out, because {group[0].path} is a newer attempt")
        elif any(not _same_work(group[0], other) for other in group):
            others = ", ".join(g.path for g in group if g is not item)
            yield replace(item, problem=f"{WHOSE} {item.student!r} would have this and {others}; give "
                                        "each student a folder of their own")
        elif item is not group[0] and item.path == group[0].path:
            yield replace(item, problem="left out, because the zip has a later file of this name")
        elif item is not group[0]:
            yield replace(item, problem=f"left out, because {group[0].path} is the same student's")
        else:
            yield item


def _newest(group):
    """Those of a student's files that are of the newest attempt; all, if not every name says which attempt it is."""
    attempts = [item.attempt for item in group]
    if None in attempts or len({kind for kind, _ in attempts}) > 1:
        return group
    return [item for item in group if item.attempt == max(attempts)]


def _same_work(first, other):
    """Are two files that go by one student's name surely one student's: a copy, or an older one further down?"""
    a, b = PurePosixPath(first.path), PurePosixPath(other.path)
    stems = {COPY.sub("", p.stem) for p in (a, b)}
    return first.content == other.content or (len(stems) == 1 and b.is_relative_to(a.parent))


def _collected(file, notebook, skip, notebooks, left):
    path = _printable(file.path)
    if file.problem:
        return Collected(path, problem=file.problem)
    if not notebook:
        what = "a notebook of this course" if file.path.suffix == ".ipynb" else "a notebook"
        inside = "; unpack it to collect what is in it" if file.path.suffix.lower() == ".zip" else ""
        return Collected(path, problem=f"not {what}, left out{inside}")
    parts = _without_notebooks(file.path, notebooks).parts[skip:]
    name, attempt = _folder_of(parts[0]) if len(parts) > 1 else _file_of(_prefix(file.path, notebook), file.path)
    student = " ".join(unicodedata.normalize("NFC", name).replace("’", "'").split())
    if not student:
        return Collected(path, problem="no student: put it in a folder with the student's name, or name it "
                                       f"STUDENT_{notebook}.ipynb")
    if not STUDENT.fullmatch(student) or len(student) > MAX_NAME or RESERVED.fullmatch(student):
        return Collected(path, problem=f"the student's name {student[:MAX_NAME]!r} may hold letters, digits, spaces "
                                       f"and . _ - + @ ', begins with a letter or digit, has at most {MAX_NAME} of "
                                       "them, and is none that Windows reserves, such as con or nul")
    if left[0] <= 0:
        return Collected(path, problem=f"left out: {MAX_TOTAL >> 30} GB were read; give the submissions in parts")
    try:
        content = file.read(MAX_BYTES + 1)  # a zip may say less than it holds
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as e:
        return Collected(path, problem=f"cannot be read: {_printable(e)}")
    left[0] -= len(content)
    if problem := _too_big(len(content)):
        return Collected(path, problem=problem)
    time = _utc(attempt) or file.time
    return Collected(path, student, notebook, content.removeprefix(BOM), time, attempt=attempt)


def _folder_of(name):
    """The student and the attempt in the name of a folder."""
    if m := EXCHANGE.search(name):
        return name[:m.start()], ("time " + (m["zone"] or ""), m["time"])
    return MOODLE.sub("", name), None


def _file_of(name, path):
    """The student and the attempt in what stands before the notebook in the name of a file."""
    if m := BLACKBOARD.search(name):
        return name[:m.start()], ("time ", m["time"])
    if m := CANVAS.search(name):
        # Short numbers may be a student's own: then it is not sure that two files are two attempts.
        sure = m["late"] or COPY.search(path.stem) or min(len(m["user"]) - 1, len(m["attempt"])) >= 5
        return name[:m.start()] + m["user"], ("canvas", m["attempt"].zfill(30)) if sure else None
    return name, None


def _utc(attempt):
    if not attempt or attempt[0] != "time UTC":
        return None
    try:
        return datetime(*map(int, re.findall(r"\d+", attempt[1])[:6]), tzinfo=UTC)
    except ValueError:
        return None


def _printable(name):
    """As text that can be shown: a name may hold bytes that are no text, line ends and orders to a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(name))


def _notebook(path, notebooks):
    stem = COPY.sub("", path.stem).lower()
    fits = [n for n in notebooks if stem == n.lower() or stem.endswith(tuple(f"{c}{n.lower()}" for c in "_- "))]
    return fits[0] if fits and path.suffix.lower() == ".ipynb" else ""


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
        try:
            about = path.lstat()
        except OSError as e:
            yield File(name, datetime.min, partial(_read_file, path), f"cannot be read: {e.strerror}")
            continue
        if stat.S_ISDIR(about.st_mode):
            continue
        problem = _kind(about.st_mode) or _too_big(about.st_size)
        yield File(name, _time(datetime.fromtimestamp, about.st_mtime, UTC), partial(_read_file, path), problem)


def _in_zip(archive):
    for info in archive.infolist():
        if info.is_dir():
            continue
        name, problem = PurePosixPath(info.filename), _too_big(info.file_size)
        if ".." in name.parts or name.is_absolute() or "\\" in info.filename:
            problem = "its path leads out of the zip, left out"
        elif kind := _kind(info.external_attr >> 16):
            problem = kind
        # A zip has local times without a zone.
        time = _time(lambda *date: datetime(*date).astimezone(UTC), *info.date_time)
        yield File(name, time, partial(_read_entry, archive, info), problem)


def _read_file(path, limit):
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb") as f:
        return f.read(limit)


def _read_entry(archive, info, limit):
    with archive.open(info) as f:
        return f.read(limit)


def _kind(mode):
    """Why something that is not a plain file is left out; a zip need not say what it is."""
    if stat.S_ISLNK(mode):
        return "a link, left out"
    return "" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "not a file, left out"


def _time(make, *values):
    """A time, or the first that a zip can hold if it is none: some programs write the 0th of the 0th month."""
    try:
        return make(*values)
    except (ValueError, OverflowError, OSError):
        return datetime(1980, 1, 1, tzinfo=UTC)


def _too_big(size):
    return f"larger than {MAX_BYTES >> 20} MB, left out" if size > MAX_BYTES else ""
