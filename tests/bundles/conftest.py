"""What students and instructors are given, unpacked and run away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autograder import bundle


class Outside:
    """A folder outside the repository, and programs run there with what lies in it."""

    def __init__(self, folder: Path, path: Path):
        self.folder, self.path = folder, path

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        """Run Python with `arguments`; of the course it finds only what is here."""
        return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd or self.folder, capture_output=True,
                              encoding="utf-8", timeout=200, env=self.environment())

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NBGRADER", "PYTEST", "CNNLAB"))}
        return kept | {"PYTHONPATH": str(self.path), "PYTHONIOENCODING": "utf-8", "HOME": str(self.folder.parent)}


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The students' zip."""
    path = tmp_path_factory.mktemp("zip") / "cnnlab-student.zip"
    bundle.write(path, bundle.contents())
    return path


@pytest.fixture(scope="session")
def unpacked(archive, tmp_path_factory):
    """The students' zip, unpacked."""
    folder = tmp_path_factory.mktemp("student")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return Outside(folder / bundle.FOLDER, folder / bundle.FOLDER)
