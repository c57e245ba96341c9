"""The doctor tells what is missing, broken, old or odd, and whatever that is, it gets to the end."""

import importlib
import io
import os
import shutil
import subprocess
import sys
from importlib.metadata import version

import nbformat
import pytest

import cnnlab
from autograder.solutions import execute
from autograder.sources import KERNELSPEC, ROOT
from cnnlab import environment

doctor = importlib.import_module("cnnlab.doctor")  # cnnlab.doctor is the function


def visit(*arguments, python=(sys.executable,)):
    """Run `python -m cnnlab` as a user does: (exit code, what it printed)."""
    done = subprocess.run([*python, "-m", "cnnlab", *arguments], capture_output=True, encoding="utf-8", timeout=200,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"})
    assert "Traceback" not in done.stdout + done.stderr, done
    return done.returncode, done.stdout + done.stderr


def row(said, name):
    """The line of the table about `name`, and the line after it, which says what to do."""
    lines = said.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("  ") and f"  {name}  " in f"{line}  "]
    return f"{lines[at]}\n{lines[at + 1]}" if "→" in lines[at + 1] else lines[at]


def stub(folder, **modules):
    """Modules of our own, by name and source, in a folder to be found before all others."""
    for name, source in modules.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source)
    return f"{folder}{os.pathsep}{ROOT}"


# ------------------------------------------------------------------ this machine, and one with nothing

def test_here_everything_needed_works():
    code, said = visit("doctor")
    assert code == 0 and "Everything that notebooks 00 to 08 need works." in said
    for part in doctor.NEEDED:
        assert "✓ works" in row(said, part.name)
    for name, package in [("NumPy", "numpy"), ("Matplotlib", "matplotlib"), ("SymPy", "sympy"), ("PyTorch", "torch")]:
        assert version(package) in row(said, name)
    assert "1,797 digits and 3 photographs" in row(said, "Images")


def test_with_nothing_installed_it_gives_the_command_for_each_part_and_for_all():
    code, said = visit("doctor", python=[sys.executable, "-S"])  # the standard library alone
    assert code == 1 and "do not run yet" in said
    asked = environment.project()["packages"]
    for part in doctor.NEEDED:
        assert "✗ missing" in row(said, part.name)
        assert f'-m pip install "{asked[part.package]}"' in row(said, part.name)
    assert "All at once: " in said and " ".join(f'"{asked[p.package]}"' for p in doctor.NEEDED) in said
    assert f'"{asked["torch"]}"' in row(said, "PyTorch")


def test_cnnlab_can_be_imported_without_numpy_and_imports_little():
    code = "import sys, cnnlab, cnnlab.doctor; print(callable(cnnlab.doctor), {'numpy', 'subprocess'} & set(sys.modules))"
    out = subprocess.check_output([sys.executable, "-S", "-c", code], text=True, env={"PYTHONPATH": str(ROOT)})
    assert out == "True set()\n"
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        cnnlab.chek


@pytest.mark.parametrize("arguments", [(), ("docter",), ("doctor", "now"), ("--help",)])
def test_any_other_command_is_answered_with_one_line(arguments):
    code, said = visit(*arguments)
    assert code == 2 and said.startswith("usage: python -m cnnlab doctor") and said.count("\n") == 1


# ------------------------------------------------------------------ broken packages

def test_what_raises_crashes_hangs_or_ends_python_is_named_and_the_rest_still_told(tmp_path):
    path = stub(tmp_path, numpy="raise ImportError('DLL load failed')", IPython="import os; os.kill(os.getpid(), 11)",
                matplotlib="import os; os._exit(0)", ipykernel="while True: pass", jupyterlab="raise SystemExit('gone')",
                torch="raise OSError('libcudart.so not found')")
    run = "import importlib; from cnnlab import environment; environment.LIMIT = 10; " \
          "raise SystemExit(importlib.import_module('cnnlab.doctor').main(['doctor', '--torch']))"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, encoding="utf-8", timeout=200,
                          env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"})
    said = done.stdout
    assert done.returncode == 1 and not done.stderr
    for name, why in [("NumPy", "ImportError: DLL load failed"), ("IPython", "it crashed (SIGSEGV)"), ("JupyterLab", "gone"),
                      ("Matplotlib", "it ended Python"), ("ipykernel", "no answer within 10 seconds"),
                      ("PyTorch", "OSError: libcudart.so not found")]:
        assert "✗ broken" in row(said, name) and why in row(said, name)
        assert "pip install --force-reinstall" in row(said, name)
    assert "✓ works" in row(said, "SymPy") and "✓ there" in row(said, "Machine")


def test_a_file_of_ones_own_that_hides_a_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    numpy = doctor._try(doctor.NEEDED[0])
    assert numpy.stops and numpy.fix == f"rename {tmp_path / 'numpy.py'}, which hides the package"


def test_pytorch_is_imported_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(environment, "run", lambda code: pytest.fail("it was tried"))
    torch, *_ = doctor._torch(False)
    assert torch.state == "installed" and torch.fix.endswith("-m cnnlab doctor --torch")


def test_what_pytorch_says_of_gpus_is_told(monkeypatch):
    monkeypatch.setattr(environment, "run", lambda code: (True, "2.13.0+cu130\nNVIDIA H100, 85 GB\nNVIDIA H100, 85 GB"))
    torch, gpu, triton = doctor._torch(True)
    assert torch.said == "2.13.0+cu130 (for notebooks from 09 on)" and torch.state == "works"
    assert (gpu.state, gpu.said) == ("works", "NVIDIA H100, 85 GB; NVIDIA H100, 85 GB")
    assert triton.name == "Triton"


def test_a_driver_is_asked_for_the_gpu_and_may_fail(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for script, state, says in [("echo 'NVIDIA H100, 81559 MiB'", "there", "NVIDIA H100, 81559 MiB"),
                                ("echo 'no driver'; exit 9", "not here", "no driver"), ("", "not here", "")]:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert doctor._gpu().state == state and says in doctor._gpu().said


# ------------------------------------------------------------------ versions

def test_versions_that_are_not_asked_for_are_told_apart(monkeypatch):
    asked = {"python": ">=99", "packages": {"numpy": "numpy>=99", "torch": "torch==1.0"}}
    monkeypatch.setattr(environment, "project", lambda: asked)
    numpy, (torch, *_), (python, *_) = doctor._try(doctor.NEEDED[0]), doctor._torch(False), doctor._python()
    assert (numpy.state, numpy.stops, torch.state, torch.stops) == ("too old", True, "differs", False)
    assert "asked for: numpy>=99" in numpy.said and '"numpy>=99"' in numpy.fix
    assert python.stops and "asked for: >=99" in python.said


def test_packages_that_differ_from_the_lock_are_listed(tmp_path, monkeypatch):
    (tmp_path / "requirements.lock").write_text(f"# made\nnumpy==1.0\nsympy=={version('sympy')}\nnot-here==1.0\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    found = doctor._versions()
    assert found.said == f"1 of 2 packages are not as in requirements.lock: numpy {version('numpy')} (1.0)"
    assert found.fix.endswith(f'-m pip install -r "{tmp_path / "requirements.lock"}"')
    (tmp_path / "requirements.lock").unlink()
    assert doctor._versions() == []


def test_without_the_project_file_the_installed_package_says_what_is_asked_for(tmp_path, monkeypatch):
    here = environment.project()
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    installed = environment.project()
    assert installed["python"] == here["python"] and installed["packages"]["jupyterlab"] == here["packages"]["jupyterlab"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: 1 / 0)
    assert doctor._safely("NumPy", doctor._try, doctor.NEEDED[0], needed=True)[0].state == "unknown"


# ------------------------------------------------------------------ folders, data, users

def test_folders_that_cannot_be_written_are_named(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    home, folder = doctor._folders()
    assert home.stops and "Jupyter has to write to" in home.said and folder.state == "read-only" and not folder.stops


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap makes the room for it")
def test_an_ordinary_user_with_nothing_to_write_to_and_no_network_is_told_so(tmp_path):
    room = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-user", "--unshare-net",
            "--uid", "1000", "--gid", "1000"]
    code, said = visit("doctor", python=[*room, sys.executable])
    assert code == 1 and "✗ broken" in row(said, "Home") and "✓ works" in row(said, "NumPy")
    assert "read-only" in row(said, "Folder")


def test_a_home_that_is_no_folder_or_a_folder_that_is_gone_stops_nothing(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    said = subprocess.run(f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m cnnlab doctor', shell=True,
                          capture_output=True, encoding="utf-8", env=os.environ | {
                              "PYTHONPATH": str(ROOT), "HOME": "/dev/null/none", "CNNLAB_DATA": "/dev/null/none"})
    assert "✓ there" in row(said.stdout, "Machine") and "is no folder" in row(said.stdout, "CNNLAB_DATA"), said


@pytest.mark.parametrize(("files", "state"), [
    (["mnist/{}-idx{}-ubyte.gz"], "there"), (["MNIST/raw/{}-idx{}-ubyte"], "there"), (["{}.idx{}-ubyte"], "there"),
    ([], "not here")])
def test_data_sets_are_found_where_the_loaders_find_them(tmp_path, monkeypatch, files, state):
    monkeypatch.setattr(environment, "ROOT", tmp_path / "nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    for form in files:
        for part in ("train", "t10k"):
            for kind, n in (("images", 3), ("labels", 1)):
                path = tmp_path / form.format(f"{part}-{kind}", n)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    mnist, cifar = doctor._data()
    assert mnist.state == state and cifar.state == "not here"
    assert cifar.fix.endswith("-m cnnlab download cifar10")
    (tmp_path / "cifar10-jpeg.tar.xz").touch()
    assert doctor._data()[1].said.startswith(f"{tmp_path / 'cifar10-jpeg.tar.xz'}; recompressed")
    if files:
        path.unlink()
        assert doctor._data()[0].state == "incomplete" and "t10k-labels-idx1-ubyte" in doctor._data()[0].said


def test_without_the_variable_the_cache_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.delenv("CNNLAB_DATA", raising=False)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    (tmp_path / "data" / "cache").mkdir(parents=True)
    (tmp_path / "data" / "cache" / "cifar-10-python.tar.gz").touch()
    assert (doctor._data()[1].state, doctor._data()[1].fix) == ("there", "")


# ------------------------------------------------------------------ instructors, and what is shown

def test_instructors_learn_whether_a_room_can_be_made_and_students_do_not_see_it(monkeypatch):
    monkeypatch.setattr(environment, "run", lambda code: (True, "It is not installed. Install it, on Debian with x"))
    sandbox = doctor._instructors()[-1]
    assert (sandbox.state, sandbox.said, sandbox.fix) == ("broken", "It is not installed", "Install it, on Debian with x")
    assert not sandbox.stops
    monkeypatch.setattr(environment, "is_there", lambda module: module != "autograder")
    assert doctor._instructors() == []


@pytest.mark.parametrize("look", ["_python", "_try", "_torch", "_machine", "_disk", "_versions", "_data", "_folders",
                                  "_instructors"])
def test_whatever_goes_wrong_in_one_place_the_rest_is_told(look, monkeypatch):
    def fails(*_):
        raise RuntimeError("odd machine")

    monkeypatch.setattr(environment, "run", lambda code: (True, "1.0"))
    monkeypatch.setattr(doctor, look, fails)
    said = doctor.text(doctor.examine())
    assert "✗ unknown" in said and "could not be asked: RuntimeError: odd machine" in said
    assert ("do not run yet" in said) == (look in ("_python", "_try"))


def test_it_can_be_read_where_only_ascii_can_be_written():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    doctor._say("✓ works, ✗ broken, – not here → é …", stream)
    stream.seek(0)
    assert stream.read() == "+ works, x broken, - not here > ? .\n"


def test_the_columns_are_aligned():
    found = {"A": [doctor.Finding("NumPy", "missing", "asked for: numpy>=2", "pip install", needed=True),
                   doctor.Finding("JupyterLab", "works", "4")]}
    assert doctor.text(found).splitlines()[:4] == [
        "A", "  ✗ missing  NumPy       asked for: numpy>=2", "                         → pip install",
        "  ✓ works    JupyterLab  4"]


def test_in_a_notebook_it_prints_the_same_table():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import cnnlab\ncnnlab.doctor()")],
                                        metadata={"kernelspec": KERNELSPEC})
    execute(notebook)
    (output,) = notebook.cells[0].outputs
    assert "this is a notebook" in row(output.text, "JupyterLab") and "✓ works" in row(output.text, "NumPy")
    assert "cnnlab.doctor(torch=True)" in row(output.text, "PyTorch")
