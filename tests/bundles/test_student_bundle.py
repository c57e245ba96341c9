"""What students get is all they need, nothing that answers an exercise, and the same bytes each time."""

import ast
import json
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autograder import bundle, lock, sources
from autograder.exercise import load_all
from cnnlab import outline
from tests.notebooks.test_build import solution_lines


def test_the_same_bytes_each_time_in_order_and_without_times(archive, tmp_path):
    bundle.write(tmp_path / "again.zip", bundle.contents())
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
    assert [i.filename for i in infos] == sorted(i.filename for i in infos)
    assert {i.date_time for i in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {i.external_attr >> 16 for i in infos} == {0o100644}


def test_it_holds_what_a_student_needs_and_no_more():
    names = set(bundle.contents())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cnnlab", "notebooks", "data", "LICENSE", "START-HERE.txt", "requirements.lock", "pyproject.toml"}
    assert {n for n in names if n.startswith("notebooks/")} == {f"notebooks/{slug}.ipynb" for slug in sources.slugs()}
    assert {n for n in names if n.startswith("data/")} == {"data/README.md"}
    assert {f"cnnlab/exercises/{e.id}.json" for n in outline.notebooks() for e in n.exercises} <= names
    assert {"cnnlab/outline.json", "cnnlab/results/mnist_lenet.npz"} <= names
    assert not [n for n in names if n.endswith(".pyc") or "/." in n]


def texts():
    """The text of every file, by name; what JSON holds as it is read."""
    for name, content in bundle.contents().items():
        if not name.endswith(".npz"):
            text = content.decode()
            yield name, text.replace('\\"', '"').replace("\\n", "\n") if name.endswith(("json", "ipynb")) else text


def test_no_solution_model_answer_or_marker_of_one_is_in_it():
    lines = {line for slug in sources.slugs() for line in solution_lines(slug)}
    assert len(lines) > 500
    for name, text in texts():
        markers = "BEGIN SOLUTION", "END SOLUTION", "MARK SCHEME", "HIDDEN TESTS", "**Rubric"
        assert not [m for m in markers if m in text], name
        if not name.startswith("cnnlab/layers/"):  # given from notebook 08 on; rooms that ask for its code are without
            assert not [line for line in lines if line in text], name


def lines_of(tree):
    """The telling lines of a program, without comments and however it was laid out."""
    return {line.strip() for line in ast.unparse(tree).splitlines() if len(line.strip()) > 25}


def judges():
    """(exercise, lines) of each function that answers it: its oracle, other right answers, what draws hidden cases."""
    for slug, exercises in load_all().items():
        tree = ast.parse(Path(sys.modules[f"autograder.exercises.{slug}"].__file__).read_text())
        functions = {node.lineno: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for e in exercises:
            for function in (e.oracle, *e.alternatives, e.random):
                code = getattr(function, "__code__", None)
                if code and code.co_firstlineno in functions and code.co_filename.endswith(f"{slug}.py"):
                    yield e.id, lines_of(functions[code.co_firstlineno])


def test_no_body_of_an_oracle_another_answer_or_a_hidden_case_is_in_it():
    programs = {name: lines_of(ast.parse(text)) for name, text in texts()
                if name.endswith(".py") and not name.startswith("cnnlab/layers/")}
    found = [(exercise, lines) for exercise, lines in judges() if len(lines) > 1]  # one line is not telling
    assert len(found) > 100
    for exercise, lines in found:
        for path, given in programs.items():
            assert len(lines & given) <= len(lines) / 2, f"{path} holds what judges {exercise}: {lines & given}"


def test_requirements_are_lines_of_the_lock_and_cover_what_is_asked_for():
    text = bundle.requirements()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    locked = (sources.ROOT / "requirements.lock").read_text().splitlines()
    assert set(lines) <= set(locked)
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    about = lock.project()
    asked = [*about["dependencies"], *(r for e in bundle.EXTRAS for r in about["optional-dependencies"][e])]
    assert {canonicalize_name(Requirement(r).name) for r in asked} <= names
    assert {"tornado", "traitlets"} <= names  # what JupyterLab needs
    assert not {"pyseccomp", "rich", "distributed", "psycopg2-binary", "sphinx", "pytest", "playwright", "nh3"} & names


def test_the_packages_that_are_here_satisfy_its_requirements(unpacked):
    done = unpacked.run("-m", "pip", "install", "--quiet", "--dry-run", "--no-index", "-r", "requirements.lock")
    assert done.returncode == 0, done.stderr
    assert "would install" not in done.stdout.lower()


def test_the_doctor_runs_from_it_and_knows_its_lock(unpacked):
    done = unpacked.run("-m", "cnnlab", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything that notebooks 00 to 08 need works." in done.stdout
    count = sum("==" in line for line in bundle.requirements().splitlines())
    assert f"all {count} packages are as in requirements.lock" in done.stdout
    assert str(unpacked.folder / "data") in done.stdout


def test_notebook_00_runs_from_it_and_remembers_what_passed(unpacked):
    code = "from cnnlab import lab; from pathlib import Path; print(lab.__file__, len(lab.fill(Path('work'))))"
    said = unpacked.run("-c", code).stdout.split()
    assert said == [str(unpacked.folder / "cnnlab" / "lab.py"), str(len(sources.slugs()))]
    path = unpacked.folder / "work" / "00_start_here.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (own,) = [c for c in notebook.cells if c.id == "brighten"]
    own.source = "import cnnlab\ndef brighten(image, amount):\n    return np.clip(image + amount, 0, 1)"
    notebook.cells.append(nbformat.v4.new_code_cell("print(cnnlab.__file__)"))
    nbformat.write(notebook, path)
    done = unpacked.run("-c", "from nbclient.cli import main; main()", "--inplace", "work/00_start_here.ipynb")
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(path, as_version=4).cells
    (check,) = [c for c in cells if c.id == "check-brighten"]
    assert "✓ brighten: 1 of 1 point" in check.outputs[0].data["text/html"]
    assert cells[-1].outputs[0].text.strip() == str(unpacked.folder / "cnnlab" / "__init__.py")
    said = unpacked.run("-m", "cnnlab", "progress").stdout
    assert "1 of 1  ✓" in said and "Next: `" in said
    assert not [p for p in unpacked.folder.rglob("*") if p.suffix == ".ipynb" and p.parent.name == "notebooks"
                and "execution_count\": 1" in p.read_text()]


def test_the_third_command_of_start_here_serves_copies_in_work(unpacked):
    assert "-m cnnlab lab\n" in (unpacked.folder / "START-HERE.txt").read_text()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "cnnlab", "lab", "--no-browser", f"--port={port}",
                               "--IdentityProvider.token="], cwd=unpacked.folder, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=unpacked.environment())
    address = f"http://127.0.0.1:{port}/api/contents/00_start_here.ipynb"
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    assert json.load(answer)["type"] == "notebook"
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not start")
    finally:
        server.terminate()
        server.wait(20)
    assert (unpacked.folder / "work" / "00_start_here.ipynb").is_file()


def test_start_here_names_the_three_commands_for_each_system(unpacked):
    text = (unpacked.folder / "START-HERE.txt").read_text()
    for python in (".venv/bin/python", ".venv\\Scripts\\python"):
        assert f"{python} -m pip install -r requirements.lock\n" in text and f"{python} -m cnnlab lab\n" in text
    assert "python3 -m venv .venv\n" in text and "py -m venv .venv\n" in text
    assert all(len(line) <= 100 for line in text.splitlines())
