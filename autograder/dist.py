"""`make dist`: two wheels in build/dist that work outside this repository.

cnnlab is for students, with the notebooks and without answers.  cnnlab-autograder is for instructors and holds the
solutions and what judges them; an extra of one wheel could not keep these from students, so there are two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from autograder import bundle, lock, sources

FOLDER = sources.ROOT / "build" / "dist"


def main() -> int:
    """Build both wheels and say where they are."""
    sources.need_repository()
    for wheel in build(FOLDER):
        print(f"{wheel.relative_to(sources.ROOT)}: {wheel.stat().st_size / 1e6:.1f} MB")
    return 0


def build(folder: Path) -> list[Path]:
    """Build both wheels into `folder`; return them, the student's first."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    return [_wheel(files, folder) for files in (student(), instructor())]


def student() -> dict[str, bytes]:
    """What the wheel of cnnlab is made from: as the bundle, with the notebooks in the package."""
    return {f"cnnlab/{name}" if name.startswith("notebooks/") else name: content
            for name, content in bundle.contents().items()}


def instructor() -> dict[str, bytes]:
    """What the wheel of the autograder is made from: the package, with the sources of the notebooks in it."""
    about = lock.project()
    more = '\n[project.scripts]\nautograder = "autograder.cli:main"\n'
    needs = [f"cnnlab[{','.join(bundle.EXTRAS)}]=={about['version']}", *about["optional-dependencies"]["grader"]]
    files = bundle.package("autograder")
    files |= {f"autograder/{sources.INSTALLED.name}/{path.name}": path.read_bytes()
              for path in (sources.SOLUTIONS / f"{slug}.py" for slug in sources.slugs())}
    files["LICENSE"] = (sources.ROOT / "LICENSE").read_bytes()
    files["pyproject.toml"] = bundle.project("cnnlab-autograder", needs, ("cluster", "postgres"), more).encode()
    return files


def _wheel(files, folder):
    before = set(folder.glob("*.whl"))
    with tempfile.TemporaryDirectory() as stage:
        for name, content in files.items():
            path = Path(stage) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index",
                        "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), stage], check=True,
                       env=os.environ | {"SOURCE_DATE_EPOCH": "315532800"})  # 1980, where the times of a zip begin
    (made,) = set(folder.glob("*.whl")) - before
    return made


if __name__ == "__main__":
    sys.exit(main())
