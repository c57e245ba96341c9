"""The measured tables: every one can be read, says how it was made, and by a command that exists."""

import re

import numpy as np
import pytest

from cnnlab import results
from solutions.gpu.experiments.__main__ import names, table

TABLES = sorted(p.stem for p in results.FOLDER.glob("*.csv"))
ARRAYS = sorted(p.stem for p in results.FOLDER.glob("*.npz"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return tmp_path


def test_what_is_written_is_what_is_read(folder):
    rows = [{"depth": 8, "error": 0.25, "kind": "plain, deep"}, {"depth": 20, "error": float("nan"), "kind": "b"}]
    header = {"command": "python -m x: y", "device": "CPU, 1 thread", "date": "2026-01-31", "what": "Errors"}
    (folder / "it.csv").write_text(table(rows, header))
    read = results.load("it")
    assert list(read) == ["depth", "error", "kind"] and read["depth"].dtype == np.int64
    np.testing.assert_array_equal(read["depth"], [8, 20])
    np.testing.assert_array_equal(read["error"], [0.25, np.nan])
    assert read["kind"].tolist() == ["plain, deep", "b"]
    assert (read.command, read.device, read.date) == tuple(list(header.values())[:3]) and read.header == header


def test_another_name_is_answered_with_those_there_are(folder):
    for name in ("a.csv", "b.csv", "c.npz"):
        (folder / name).touch()
    with pytest.raises(ValueError, match="There is no 'x' among the results; there are a, b."):
        results.load("x")
    with pytest.raises(ValueError, match="there are c."):
        results.arrays("../a")


def test_arrays_come_in_their_order_and_half_precision_as_single(folder):
    np.savez(folder / "net.npz", z=np.ones(2, np.float16), a=np.arange(3))
    read = results.arrays("net")
    assert list(read) == ["z", "a"] and read["z"].dtype == np.float32 and read["a"].dtype == np.arange(3).dtype


@pytest.mark.parametrize("name", TABLES)
def test_each_table_says_how_it_was_made(name):
    lines = (results.FOLDER / f"{name}.csv").read_text("utf-8").splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["# command", "# device", "# date"]
    read = results.load(name)
    assert read.command == f"python -m solutions.gpu.experiments {name}" and name in names()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", read.date) and read.device
    assert len({len(column) for column in read.values()}) == 1


@pytest.mark.parametrize("name", TABLES + ARRAYS)
def test_what_is_kept_is_small(name):
    assert sum(p.stat().st_size for p in results.FOLDER.glob(f"{name}.*")) < 300_000


def test_lenet_on_mnist_is_as_good_as_in_1998():
    sizes = results.load("mnist_size")
    assert sizes["images"].tolist() == [1000, 3000, 10000, 30000, 60000]
    assert sizes["test_error"][-1] <= 0.0095 and sizes["test_error_distorted"][-1] <= 0.008
    assert (np.diff(sizes["test_error"]) < 0).all() and (np.diff(sizes["test_error_distorted"]) < 0).all()
    assert (sizes["test_error_distorted"] < sizes["test_error"]).all()


def test_the_lenet_that_is_kept_makes_the_mistakes_that_are_kept():
    torch = pytest.importorskip("torch")
    from cnnlab.train import normalise, predict
    from solutions.gpu.models import create

    net, weights = create("lenet"), results.arrays("mnist_lenet")
    for parameter, w in zip(net.parameters(), weights.values(), strict=True):
        assert parameter.shape == w.shape
        parameter.data = torch.tensor(w)
    wrong, table = results.arrays("mnist_errors"), results.load("mnist_lenet")
    images = np.pad(wrong["images"], ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_allclose(predict(net, images).softmax(1), wrong["p"], atol=1e-4)
    assert (net.features(normalise(images)).amax((0, 2, 3)) > 0.1).all()  # no map of C3 is dead
    answers = wrong["p"].argmax(1)
    assert (answers != wrong["labels"]).all()
    confusion = np.stack([table[f"answer_{i}"] for i in range(10)], 1)
    assert confusion.sum() == 10000
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (wrong["labels"], answers), 1)
    np.testing.assert_array_equal(counts, confusion - np.diag(np.diag(confusion)))


def test_the_untouched_images_are_read_equally_well_whatever_change_of_nothing_is_made():
    read, table = results.load("mnist_robustness"), results.load("mnist_lenet")
    nothing = read["amount"] == np.where(read["change"] == "scale", 1, 0)
    right = sum(table[f"answer_{i}"][i] for i in range(10)) / 10000
    assert nothing.sum() == 5 and (read["accuracy_distorted"][nothing] == right).all()
    assert len(set(read["accuracy"][nothing])) == 1
