"""A step replayed as a CUDA graph trains as the step itself.

The recording is played by `Recorder`, which notes every operation with the tensors that it read and
wrote, and repeats them on these same tensors: all that a CUDA graph does.  With a GPU, test_train.py replays graphs.
"""

import types
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnnlab import replay
from cnnlab.train import Recipe, train
from tests.unit.in_processes import batch_norm_net, sets

RECIPE = Recipe(epochs=2, batch_size=50, lr=0.1, augment="affine", warmup=0.5, seed=3)  # 12 steps and one of 1 image


class Recorder(TorchDispatchMode):
    """A CUDA graph for operations on a CPU."""

    def __init__(self):
        super().__init__()
        self.operations, self.replays = [], 0

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, output))
        return output

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for function, args, kwargs, output in self.operations:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(output), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old is not new:
                        old.copy_(new)


@pytest.fixture
def recorders(monkeypatch):
    """Every graph that is made from here on, and ordinary tensors in place of a GPU's."""
    made, stream = [], types.SimpleNamespace(wait_stream=lambda other: None)

    def new():
        made.append(Recorder())
        return made[-1]

    @contextmanager
    def record(graph, stream):
        state, weights = torch.get_rng_state(), [t.clone() for t in watched]
        with graph:
            yield
        torch.set_rng_state(state)  # a recording computes nothing and draws nothing
        with torch.no_grad():
            for t, w in zip(watched, weights, strict=True):
                t.copy_(w)

    watched = []
    monkeypatch.setattr(replay, "check", lambda device, processes: None)
    for name, fake in {"CUDAGraph": new, "graph": record, "Stream": lambda: stream,
                       "current_stream": lambda: stream, "stream": lambda s: nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return made, watched


def trained(net, **options):
    history = train(net, *sets(), RECIPE, quiet=True, **options)
    return history.loss, history.score, history.train_score


def same_weights(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_replayed_steps_are_the_steps_to_the_bit(recorders):
    made, watched = recorders
    plain, graphed = batch_norm_net(), batch_norm_net()
    watched += [*graphed.parameters(), *graphed.buffers()]
    assert trained(plain) == trained(graphed, graph=True) and same_weights(plain, graphed)
    # Of two times 12 batches of 50 and one of 1, those of 50 after the first three.
    assert [graph.replays for graph in made] == [21]


def test_what_it_returns_lies_where_it_lay_and_other_shapes_are_computed_as_usual(recorders):
    made, _ = recorders
    double = replay.Replayed(lambda x: x * 2)
    outputs = [double(torch.full((2,), float(i))) for i in range(6)]
    assert [o.tolist() for o in outputs[:3]] == [[0, 0], [2, 2], [4, 4]]
    assert outputs[3] is outputs[4] is outputs[5] and outputs[5].tolist() == [10, 10]
    assert double(torch.ones(3)).tolist() == [2, 2, 2] and made[0].replays == 3


@pytest.mark.parametrize("device, processes, said", [
    ("cpu", 1, "for a GPU, and this training is on cpu"), ("cuda", 2, "for one process, and there are 2")])
def test_where_there_are_no_graphs_it_is_said(device, processes, said):
    with pytest.raises(ValueError, match=f"{said}; leave graph out"):
        replay.check(torch.device(device), processes)


def test_train_says_it_too():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="for a GPU"):
            trained(batch_norm_net(), graph=True)
