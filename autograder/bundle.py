"""`make student-bundle`: build/cnnlab-student.zip, all that a student needs and nothing that answers an exercise."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autograder import lock, sources
from autograder.build import NOTEBOOKS

FILE = sources.ROOT / "build" / "cnnlab-student.zip"
FOLDER = "cnnlab-student"  # what the zip unpacks to
EXTRAS = ("lab", "torch", "gpu")  # of pyproject.toml, that students need
LEVEL = 9  # of compression

START_HERE = """cnnlab: a course on convolutional neural networks, in notebooks

You need Python 3.11 or newer. Open a terminal in this folder and give three commands.

Linux and macOS:

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.lock
    .venv/bin/python -m cnnlab lab

Windows:

    py -m venv .venv
    .venv\\Scripts\\python -m pip install -r requirements.lock
    .venv\\Scripts\\python -m cnnlab lab

The second fetches some packages, once, and takes a few minutes; after it nothing needs a network.
The third opens JupyterLab on copies of the notebooks in the folder work. They are yours: nothing
overwrites them. Begin with 00_start_here.ipynb. Next time give only the third command.

    .venv/bin/python -m cnnlab doctor      what works on this machine, and what to install
    .venv/bin/python -m cnnlab progress    what is done, and what is next

A newer version of the course is unpacked over this folder; work stays as it is.
Code is under the MIT License, text and figures under CC BY 4.0: see LICENSE.
"""


def main() -> int:
    """Write the zip and say what is in it."""
    sources.need_repository()
    files = contents()
    FILE.parent.mkdir(exist_ok=True)
    write(FILE, files)
    print(f"{FILE.relative_to(sources.ROOT)}: {len(files)} files, {FILE.stat().st_size / 1e6:.1f} MB")
    return 0


def contents() -> dict[str, bytes]:
    """What a student gets: the bytes of each file by its path, in order."""
    files = package("cnnlab")
    files |= {f"notebooks/{path.name}": path.read_bytes() for path in NOTEBOOKS.glob("*.ipynb")}
    files |= {name: (sources.ROOT / name).read_bytes() for name in ("LICENSE", "data/README.md")}
    texts = {"START-HERE.txt": START_HERE, "requirements.lock": requirements(), "pyproject.toml": project(
        "cnnlab", lock.project()["dependencies"], EXTRAS)}
    return dict(sorted((files | {name: text.encode() for name, text in texts.items()}).items()))


def package(name: str) -> dict[str, bytes]:
    """The files of a package of this repository, by their path."""
    root = sources.ROOT
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted((root / name).rglob("*"))
            if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in path.relative_to(root).parts)}


def requirements() -> str:
    """The lines of requirements.lock that students need: what the core and EXTRAS ask for, and what that needs."""
    locked = (sources.ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    about, needed = lock.project(), set()
    waiting = [Requirement(r) for r in (*about["dependencies"], *(
        r for extra in EXTRAS for r in about["optional-dependencies"][extra]))]
    while waiting:
        asked = waiting.pop()
        for extra in ("", *asked.extras):
            key = canonicalize_name(asked.name), extra
            if key not in needed:
                needed.add(key)
                waiting += [r for r in map(Requirement, metadata.requires(asked.name) or [])
                            if r.marker is None or r.marker.evaluate({"extra": extra})]
    names = {name for name, _ in needed}
    return "\n".join(["# What students need, at the versions of the course's requirements.lock.", *(
        line for line in locked if canonicalize_name(line.split("==")[0]) in names)]) + "\n"


def project(name: str, dependencies: list[str], extras: tuple[str, ...], more: str = "") -> str:
    """A pyproject.toml for the package `name` alone, with some extras of this repository's."""
    about = lock.project()
    optional = "\n".join(f"{extra} = {json.dumps(about['optional-dependencies'][extra])}" for extra in extras)
    return f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{about["version"]}"
description = "{about["description"]}"
requires-python = "{about["requires-python"]}"
license = "{about["license"]}"
license-files = ["LICENSE"]
dependencies = {json.dumps(dependencies)}

[project.optional-dependencies]
{optional}
{more}
[tool.setuptools.packages.find]
include = ["{name.removeprefix("cnnlab-")}*"]

[tool.setuptools.package-data]
{name.removeprefix("cnnlab-")} = ["**/*"]
"""


def write(path: Path, files: dict[str, bytes]) -> None:
    """Write `files` as a zip, the same bytes each time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(f"{FOLDER}/{name}", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, 0o100644 << 16, 3
            archive.writestr(info, content, compresslevel=LEVEL)


if __name__ == "__main__":
    sys.exit(main())
