"""Training in two processes, which are real and talk through Gloo: what one process would do, and an end that comes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab import processes
from cnnlab.train import Recipe, train
from solutions.gpu import train as command
from tests.unit import in_processes
from tests.unit.tiny_mnist import write

STATE, ROOT = "state", Path(command.__file__).parents[2]


def torchrun(*arguments):
    """Two processes on this machine; what they printed, and how they ended."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)


@pytest.fixture(scope="module")
def one():
    """What one process does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"plain": in_processes.train(in_processes.plain_net(), quiet=True)}
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes did, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    ended = torchrun("tests.unit.in_processes", str(folder))
    assert ended.returncode == 0 and "Warning" not in ended.stderr, ended.stderr
    return [torch.load(folder / f"process_{i}.pt", weights_only=True) for i in range(2)] + [ended.stdout]


def test_two_processes_take_the_same_course_as_one(one, two):
    for other in two[:2]:
        np.testing.assert_allclose(other["plain"]["loss"], one["plain"]["loss"], rtol=1e-12)
        assert other["plain"]["score"] == one["plain"]["score"]
        assert other["plain"]["train_score"] == one["plain"]["train_score"]
    assert len(one["plain"]["loss"]) == 24 and one["plain"]["loss"][-1] < 0.9 * one["plain"]["loss"][0]


def test_and_end_with_the_same_weights(one, two):
    for key, weights in one["plain"][STATE].items():
        torch.testing.assert_close(two[0]["plain"][STATE][key], weights, rtol=1e-11, atol=1e-13)


def test_compiled_they_take_the_same_course(one, two):
    for other in two[:2]:
        np.testing.assert_allclose(other["compiled"]["loss"], one["plain"]["loss"], rtol=1e-12)


@pytest.mark.parametrize("name", ["plain", "batch_norm", "resumed", "compiled"])
def test_both_hold_the_same_network_to_the_bit(name, two):
    first, second = (part[name] for part in two[:2])
    assert all(torch.equal(v, second[STATE][k]) for k, v in first[STATE].items())
    assert all(first[k] == second[k] for k in ("loss", "score", "train_score"))


def test_broken_off_and_resumed_two_processes_end_with_the_same_weights_to_the_bit(two):
    for part in two[:2]:
        assert part["resumed"]["loss"] == part["batch_norm"]["loss"]
        assert all(torch.equal(v, part["batch_norm"][STATE][k]) for k, v in part["resumed"][STATE].items())


def test_one_of_them_prints_and_writes(two):
    assert two[2].count("epoch 1 of 2") == two[2].count("epoch 2 of 2") == 1
    assert [part["writes"] for part in two[:2]] == [1, 0]


def test_a_loss_that_is_not_finite_in_one_stops_both_at_that_step_with_finite_weights(two):
    for part in two[:2]:
        assert "the loss of step 5 is nan" in part["nan"]["stopped"]
        assert all(torch.isfinite(v).all() for v in part["nan"][STATE].values())


def test_a_recipe_under_torchrun_is_trained_like_without(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", "/nowhere")
    write(tmp_path)
    recipe = ["mnist-lenet", "--epochs", "2", "--device", "cpu", "--data", str(tmp_path), "--checkpoint"]
    ended = torchrun("solutions.gpu.train", *recipe, str(tmp_path / "two.pt"))
    assert ended.returncode == 0, ended.stderr
    assert command.main([*recipe, str(tmp_path / "one.pt")]) == 0
    said = [re.sub(r"\d+ s$", "", text, flags=re.M) for text in (ended.stdout, capsys.readouterr().out)]
    assert said[0] == said[1].replace("lenet on cpu:", "lenet on cpu, 2 processes:") and len(said[0].splitlines()) == 3
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "two"))
    np.testing.assert_allclose(two["history"]["loss"], one["history"]["loss"], rtol=1e-4)


def test_a_process_that_dies_ends_the_training_with_an_error(tmp_path):
    ended = torchrun("tests.unit.in_processes", str(tmp_path), "--die")  # which raises if it hangs
    assert ended.returncode != 0 and "exitcode  : 3" in ended.stderr


def test_shares_are_in_order_and_as_large_as_each_other_or_by_one_larger(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    for n in (3, 50, 64):
        shares = []
        for i in range(3):
            monkeypatch.setattr(processes, "number", lambda i=i: i)
            shares.append(list(range(n))[processes.share(n)])
        assert sum(shares, []) == list(range(n)) and {len(s) for s in shares} <= {n // 3, n // 3 + 1}


def test_more_processes_than_images_of_a_batch_are_refused(monkeypatch):
    train_set, test_set = in_processes.sets()
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(ValueError, match="3 processes cannot share batches of 150 of 601 .* has only 1"):
        train(in_processes.plain_net(), train_set, test_set, Recipe(batch_size=150))


def test_under_torchrun_every_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="4 processes for 2 GPUs; give --nproc-per-node=2"):
        processes.join("cuda")
    with pytest.raises(ValueError, match="give cuda or cpu, not cuda:1"):
        processes.join("cuda:1")
