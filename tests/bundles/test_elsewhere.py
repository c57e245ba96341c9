"""Binder, the devcontainer and a hosted notebook install the same lock for the same Python."""

import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from autograder import bundle, lock
from autograder.solutions import execute
from autograder.sources import KERNELSPEC, ROOT

LOWEST = lock.project()["requires-python"].removeprefix(">=")


def test_binder_asks_for_what_students_need_at_the_versions_of_the_lock():
    lines = [line for line in (ROOT / ".binder/requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["-c ../requirements.lock", f"-e .[{','.join(bundle.EXTRAS)}]"]
    assert (ROOT / ".binder" / "../requirements.lock").resolve() == ROOT / "requirements.lock"


def test_pip_reads_binders_file_and_finds_all_of_it_satisfied_here(tmp_path):
    for name in ("cnnlab", "autograder", ".binder"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run",
                           "--no-index", "--no-build-isolation", "-r", ".binder/requirements.txt"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    would = re.findall(r"^Would install (.*)$", done.stdout, re.MULTILINE)
    assert would in ([], [f"cnnlab-{lock.project()['version']}"]), would  # itself, from that folder


def test_each_has_the_python_that_the_lock_is_made_for():
    assert (ROOT / ".binder/runtime.txt").read_text() == f"python-{LOWEST}\n"
    assert f"FROM python:{LOWEST}-" in (ROOT / ".devcontainer/Dockerfile").read_text()


def test_the_devcontainer_installs_what_ci_does_and_calls_a_target_that_exists():
    about = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / about["build"]["dockerfile"]).is_file()
    make, target = about["postCreateCommand"].split()
    targets = (ROOT / "Makefile").read_text()
    assert make == "make" and re.search(rf"^{re.escape(target)}:.*requirements\.lock", targets, re.MULTILINE)
    python = about["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == "${containerWorkspaceFolder}/.venv/bin/python"
    installed = (ROOT / ".devcontainer/Dockerfile").read_text().split()
    wanted = set(re.findall(r"missing\+=\((\S+)\)", (ROOT / ".ci/run").read_text()))
    assert wanted - {"python3-venv"} <= set(installed)  # which the image's own Python has


@pytest.fixture
def first_cell():
    """What the reader's page says to run first in a hosted notebook."""
    return re.search(r"```ipython\n(.*?)```", (ROOT / "docs/reader.md").read_text(), re.DOTALL)[1]


def test_the_first_cell_for_a_hosted_notebook_finds_the_course_in_the_zip(archive, tmp_path, monkeypatch, first_cell):
    shutil.copy(archive, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = [first_cell, "import cnnlab\nprint(cnnlab.__file__)",
            'from cnnlab import check\ncheck("brighten", lambda image, amount: image)']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code],
                                        metadata={"kernelspec": KERNELSPEC})
    _, where, check = execute(notebook).cells
    assert where.outputs[0].text.strip() == str(tmp_path / bundle.FOLDER / "cnnlab" / "__init__.py")
    assert "brighten: 0 of 1 point" in check.outputs[0].data["text/html"]
