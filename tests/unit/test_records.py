"""Checks note what passed beside the notebooks; nothing is lost, and nothing that goes wrong there disturbs a check."""

import json
import multiprocessing
import os
import signal
import textwrap
import time

import nbformat
import pytest

from autograder import build
from autograder.solutions import execute
from autograder.sources import KERNELSPEC
from cnnlab import outline, records

RIGHT = "import numpy as np\ndef brighten(image, amount):\n    return np.clip(image + amount, 0, 1)"
WRONG = "def brighten(image, amount):\n    return image"
CHECK = 'from cnnlab import check\ncheck("brighten", brighten)'


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with notebook 00, in which kernels start."""
    (tmp_path / "00_start_here.ipynb").write_text((build.NOTEBOOKS / "00_start_here.ipynb").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*cells):
    """Run `cells` in a kernel of their own; what the last one gave: its outputs, as text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells],
                                        metadata={"kernelspec": KERNELSPEC})
    return "".join(o.get("text", "") or o["data"]["text/plain"] for o in execute(notebook).cells[-1].outputs)


def noted(work):
    return sorted(p.name for p in work.rglob(".cnnlab/progress/*"))


def test_a_check_that_passes_in_a_notebook_notes_the_function_and_when(work):
    run(RIGHT, CHECK)
    assert noted(work) == ["brighten.json"]
    record = records.read(work, "brighten")
    assert record.code == RIGHT.split("\n", 1)[1] and record.failed is None
    assert abs(record.passed.timestamp() - time.time()) < 100
    assert json.loads((work / ".cnnlab/progress/brighten.json").read_text())["points"] == 1


def test_a_check_that_fails_later_leaves_what_passed_and_is_noted_itself(work):
    run(RIGHT, CHECK, WRONG, CHECK)
    record = records.read(work, "brighten")
    assert "clip" in record.code and record.failed > record.passed
    run(RIGHT, CHECK)
    assert noted(work) == ["brighten.json"] and records.read(work, "brighten").failed is None


def test_a_wrong_or_another_function_is_not_noted_nor_what_nbgrader_runs_nor_without_the_notebook(work):
    look = ('import os\nfrom pathlib import Path\nsaid = []\n'
            'look = lambda: said.append(list(Path(".cnnlab").glob("*/*")))')
    another = RIGHT.replace("brighten", "another")
    said = run(look, WRONG, f"{CHECK}\nlook()", another, 'check("brighten", another)\nlook()', RIGHT,
               'os.environ["NBGRADER_EXECUTION"] = "validate"\ncheck("brighten", brighten)\nlook()',
               'del os.environ["NBGRADER_EXECUTION"]\nos.rename("00_start_here.ipynb", "mine.ipynb")\n'
               'check("brighten", brighten)\nlook()',
               'os.rename("mine.ipynb", "00_start_here.ipynb")\ncheck("brighten", brighten)\nlook()', "print(said)")
    assert said.strip() == "[[], [], [], [], [PosixPath('.cnnlab/progress/brighten.json')]]"


def test_outside_a_notebook_nothing_is_noted(work, capsys):
    from cnnlab import check

    names = {}
    exec(RIGHT, names)
    check("brighten", names["brighten"])
    assert noted(work) == []


def test_where_it_cannot_be_written_one_sentence_says_so_and_the_check_counts(work):
    (work / ".cnnlab").write_text("a file where the folder would be")
    said = run(RIGHT, f"{CHECK}\nprint('twice')\n" + 'check("brighten", brighten)')
    assert said.count("could not be noted in .cnnlab") == 1
    assert said.index("could not be noted") < said.index("twice") and said.endswith("1.0")


def test_each_notebook_in_a_folder_of_its_own_shares_the_place_above(tmp_path):
    folder = tmp_path / "02_convolution"
    folder.mkdir()
    assert records.home(folder) == tmp_path and records.home(tmp_path) == tmp_path
    (folder / "02_convolution.ipynb").write_text("{}")
    assert records.notebook_file(tmp_path, "02_convolution") == folder / "02_convolution.ipynb"
    assert records.notebook_file(tmp_path, "03_padding_stride_channels") is None


def _note(home, names, start):
    start.wait()
    for name in names:
        records.note(home, name, "", True)
        records.note(home, name, "", False)


def test_notebooks_side_by_side_lose_nothing(tmp_path):
    ids = [e.id for n in outline.notebooks() for e in n.exercises][:60]
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    sides = [context.Process(target=_note, args=(tmp_path, some, start)) for some in (ids[::2], ids[1::2], ids)]
    for side in sides:
        side.start()
    start.set()
    for side in sides:
        side.join(60)
    assert [side.exitcode for side in sides] == [0, 0, 0]
    assert all(records.read(tmp_path, name) for name in ids)


def _write_for_ever(path):
    for i in range(10**9):
        records.write(path, json.dumps({"i": i, "filling": "x" * 50_000}))


def test_a_crash_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "deep" / "record.json"
    for _ in range(3):
        writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
        writer.start()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(0.02)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert len(json.loads(path.read_text())["filling"]) == 50_000


def test_writing_keeps_the_rights_of_a_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    path.chmod(0o640)
    records.write(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"passed": 3, "code": ""}',
                                  '{"passed": "yesterday", "code": ""}',
                                  '{"passed": "2027-01-01T00:00:00+00:00", "code": "def ("}'])
def test_a_damaged_record_is_named(tmp_path, text):
    records.note(tmp_path, "brighten", "", True)
    (tmp_path / ".cnnlab/progress/brighten.json").write_text(text)
    with pytest.raises(ValueError, match=r"progress/brighten\.json is damaged"):
        records.read(tmp_path, "brighten")


def test_the_source_of_functions_classes_and_kernels_is_had(tmp_path):
    from cnnlab import own

    code = textwrap.dedent('''
        import functools
        limit = 3

        @functools.lru_cache
        def plain(x):
            """Text."""
            return x  # a comment stays

        class Layer:
            size = 1

            def forward(self, x):
                return x
    ''')
    import ast

    names = {"__name__": "a_notebook"}
    own.run(code, ast.parse(code), "<a notebook, cell 1>", names)
    assert records.source_of(names["plain"].__wrapped__).startswith("@functools.lru_cache\ndef plain(x):")
    assert records.source_of(names["plain"].__wrapped__).endswith("# a comment stays")
    assert records.source_of(names["Layer"]).startswith("class Layer:\n    size = 1")
    assert records.source_of(len) == records.source_of(3) == ""


def test_the_last_definition_of_a_name_counts():
    assert records.definition("def f(): return 1\n\ndef f(): return 2\n", "f") == "def f(): return 2"
    assert records.definition("x = 1", "f") == records.definition("def f(", "f") == ""
