"""The wheels, installed away from the repository: the course is there, and students' has nothing of the solutions."""

import subprocess
import sys
import zipfile

import pytest

from autograder import bundle, dist, sources
from tests.bundles.conftest import Outside


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return dist.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory):
    """Both wheels, installed into an empty folder, and an empty folder to work in."""
    root = tmp_path_factory.mktemp("installed")
    (root / "here").mkdir()
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index",
                    "--no-deps", "--no-compile", "--target", root / "packages", *wheels], check=True)
    return Outside(root / "here", root / "packages")


def names(wheel):
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_the_wheel_for_students_is_the_bundle_and_no_more(wheels):
    student, _ = wheels
    inside = {n for n in names(student) if ".dist-info/" not in n}
    given = {f"cnnlab/{n}" if n.startswith("notebooks/") else n for n in bundle.contents()}
    assert inside == {n for n in given if n.startswith("cnnlab/")}


def test_the_wheel_for_instructors_has_the_sources_and_asks_for_the_other(wheels):
    _, instructor = wheels
    assert {f"autograder/source/{slug}.py" for slug in sources.slugs()} <= names(instructor)
    assert {"autograder/templates/class_report.html", "autograder/inside/kernel.py"} <= names(instructor)
    with zipfile.ZipFile(instructor) as file:
        (metadata,) = [file.read(n).decode() for n in file.namelist() if n.endswith("/METADATA")]
    assert "Name: cnnlab-autograder" in metadata and "Requires-Dist: cnnlab[gpu,lab,torch]==" in metadata


def test_a_course_is_made_and_released_where_there_is_no_repository(installed):
    said = installed.run("-c", "import cnnlab, autograder; print(cnnlab.__file__, autograder.__file__)").stdout.split()
    assert said == [str(installed.path / name / "__init__.py") for name in ("cnnlab", "autograder")]
    done = installed.run("-m", "autograder.cli", "init", "course")
    assert done.returncode == 0, done.stderr
    made = {p.parent.name for p in (installed.folder / "course" / "source").glob("*/*.ipynb")}
    assert made == set(sources.slugs())
    done = installed.run("-m", "autograder.cli", "release", "00", cwd=installed.folder / "course")
    assert done.returncode == 0, done.stderr
    released = installed.folder / "course" / "release" / "00_start_here" / "00_start_here.ipynb"
    assert "raise NotImplementedError()" in released.read_text() and "np.clip" not in released.read_text()
    assert "### BEGIN SOLUTION" in (installed.folder / "course/source/00_start_here/00_start_here.ipynb").read_text()


def test_the_notebooks_come_with_the_wheel_for_students(installed):
    code = "from cnnlab import lab; from pathlib import Path; print(len(lab.fill(Path('work'))))"
    assert installed.run("-c", code).stdout.strip() == str(len(sources.slugs()))
    assert "Next: `brighten`" in installed.run("-m", "cnnlab", "progress").stdout


@pytest.mark.parametrize("module", ["build", "lock"])
def test_what_needs_the_repository_says_so(installed, module):
    done = installed.run("-m", f"autograder.{module}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "This needs the course's repository, and this autograder was installed from a wheel.\n"
