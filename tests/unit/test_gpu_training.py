"""The benchmark of training, with a network and a batch that a CPU can train."""

import copy
import json
import sys
import time
import types
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks import gpu_training as bench
from solutions.gpu.models import create, to_torchvision

CPU = torch.device("cpu")


def tiny(change=0.0):
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 10))
    theirs = copy.deepcopy(ours)
    theirs[-1].bias.data += change
    return bench.Pair("tiny", ours, theirs, (4, 3, 8, 8))


def test_both_networks_are_trained_and_a_row_says_how_fast(capsys, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    pair = tiny()
    before = pair.ours[0].weight.clone()
    rows = bench.compare(pair, CPU, turns=3, steps=2)
    assert [row["compiled"] for row in rows] == [False, True]
    for row in rows:
        assert row["ours_steps_per_s"] == pytest.approx(1e3 / row["ours_ms"], rel=0.01) and row["speed_ratio"] > 0
    assert not torch.equal(pair.ours[0].weight, before)
    torch.testing.assert_close(pair.ours[0].weight, pair.theirs[0].weight)  # after as many steps
    bench.show(rows)
    assert "tiny" in capsys.readouterr().out


def test_who_begins_changes_and_each_lap_is_the_runs_own():
    order, wait = [], {"a": 0.001, "b": 0.004}
    runs = [lambda who=who: (order.append(who), time.sleep(wait[who])) for who in wait]
    laps = bench.take_turns(runs, CPU, turns=4, steps=1)
    assert "".join(order) == "ab" + "abba" * 2
    assert all(0.001 <= a and 0.004 <= b for a, b in laps) and min(a for a, _ in laps) < 0.004


def test_networks_that_compute_something_else_are_not_compared():
    with pytest.raises(SystemExit, match="Ours and torchvision's differ by"):
        bench.compare(tiny(change=1.0), CPU)


def test_the_pairs_have_equal_weights(monkeypatch):
    monkeypatch.setattr(bench, "NAMES", ("resnet18",))
    theirs = types.SimpleNamespace(resnet18=lambda: Counterpart())
    pair, = bench.pairs(theirs)
    assert pair.theirs.loaded.keys() == to_torchvision(create("resnet18")).keys() and pair.input == (128, 3, 224, 224)
    torch.testing.assert_close(pair.theirs.loaded["fc.bias"], to_torchvision(pair.ours)["fc.bias"])


class Counterpart(nn.Module):
    """A network of torchvision's, of which only the weights matter."""

    def load_state_dict(self, state):
        self.loaded = state


def test_without_a_gpu_or_torchvision_it_says_so_in_a_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main() == 1 and capsys.readouterr().err == (
        "This measures a GPU, and torch finds none on this machine.\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert bench.main() == 1 and "torchvision, which cannot be imported (" in capsys.readouterr().err


def test_what_is_written_says_with_what_and_when(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=None, __version__="0.1"))
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "gpu_training.json")
    monkeypatch.setattr(bench, "pairs", lambda models: [tiny()])
    measured = bench.compare(tiny(), CPU, turns=2, steps=1, ways=(False,))
    monkeypatch.setattr(bench, "compare", lambda pair, device: measured)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # and put back afterwards
    assert bench.main() == 0
    written = json.loads(bench.RESULTS.read_text())
    assert written["networks"] == measured and written["device"] == "a GPU" and written["torchvision"] == "0.1"
    assert written["command"] == "python -m benchmarks.gpu_training" and written["date"] and written["torch"]
