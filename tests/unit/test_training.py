"""The training loop: what it calls, what it returns, when it stops, and what it shows where."""

import sys

import numpy as np
import pytest

from cnnlab import training
from cnnlab.training import fit


def falling(seen):
    """A step whose loss falls, and that notes what it was given."""
    def step(batch, done):
        seen.append((batch, done))
        return 2.0 / len(seen)

    return step


def test_every_example_is_seen_once_an_epoch_in_another_order():
    seen = []
    history = fit(falling(seen), 7, epochs=2, batch_size=3, seed=4)
    first, second = (np.concatenate([b for b, _ in part]) for part in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(7)) and list(first) != list(second)
    assert [len(b) for b, _ in seen] == [3, 3, 1] * 2
    assert [done for _, done in seen] == [i / 6 for i in range(6)]
    assert len(history.loss) == 6 and history.score == [] and history.stopped == ""


def test_the_order_follows_from_the_seed():
    orders = []
    for seed in (1, 1, 2):
        seen = []
        fit(falling(seen), 20, epochs=1, batch_size=20, seed=seed)
        orders.append(seen[0][0].tolist())
    assert orders[0] == orders[1] != orders[2]


def test_the_score_is_taken_after_every_epoch_and_printed(capsys):
    scores = iter([0.5, 0.75])
    history = fit(falling([]), 4, epochs=2, batch_size=2, evaluate=lambda: next(scores))
    assert history.score == [0.5, 0.75]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2 of 2, loss ") and "test 75.0 %" in lines[1]


def test_it_goes_on_from_whole_epochs_as_if_never_broken_off():
    whole, first, rest = [], [], []
    expected = fit(falling(whole), 7, epochs=3, batch_size=3, evaluate=lambda: 0.5, quiet=True)

    def stop(history):
        raise KeyboardInterrupt

    broken = fit(falling(first), 7, epochs=3, batch_size=3, evaluate=lambda: 0.5, after=stop, quiet=True)
    assert broken.stopped == "Interrupted after 3 steps."
    broken.stopped = ""
    seconds = broken.seconds
    history = fit(falling(rest), 7, epochs=3, batch_size=3, evaluate=lambda: 0.5, history=broken, quiet=True)
    assert history is broken and len(history.loss) == len(expected.loss) and history.score == expected.score
    assert history.seconds >= seconds
    for (a, done), (b, then) in zip(whole, first + rest, strict=True):
        assert a.tolist() == b.tolist() and done == then


def test_after_an_epoch_it_is_told_what_there_is_unless_the_loss_is_not_finite():
    losses, told = iter([1.0, 1.0, 1.0, np.nan]), []
    fit(lambda batch, done: next(losses), 4, epochs=5, batch_size=2, evaluate=lambda: 0.5, quiet=True,
        after=lambda history: told.append((len(history.loss), len(history.score))))
    assert told == [(2, 1)]


def test_quiet_shows_nothing_and_a_train_score_is_shown(capsys):
    fit(falling([]), 4, epochs=1, batch_size=2, quiet=True)
    assert capsys.readouterr().out == ""
    fit(falling([]), 4, epochs=1, batch_size=2, evaluate=lambda: 0.5, after=lambda h: h.train_score.append(0.25))
    assert "train 25.0 %, test 50.0 %" in capsys.readouterr().out


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_it_with_the_reason(bad, capsys):
    losses = iter([2.3, 40.0, 8e5, bad, 1.0])
    history = fit(lambda batch, done: next(losses), 100, epochs=3, batch_size=10, evaluate=lambda: 0.1)
    assert len(history.loss) == 4 and history.score == []
    assert f"the loss of step 4 is {bad}; before that it was 2.3, 40, 8e+05" in history.stopped
    assert "learning rate" in history.stopped and history.stopped in capsys.readouterr().out


def test_a_step_that_overflows_warns_nobody(recwarn):
    history = fit(lambda batch, done: float(np.exp(np.array(1e4))), 4, epochs=1, batch_size=2)
    assert history.stopped and not recwarn


def test_interrupting_returns_what_there_is():
    calls = []

    def step(batch, done):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(batch)
        return 1.0

    history = fit(step, 10, epochs=5, batch_size=2)
    assert history.loss == [1.0, 1.0] and history.stopped == "Interrupted after 2 steps."


def test_while_nbgrader_grades_two_steps_are_made_and_nothing_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    history = fit(falling([]), 1000, epochs=50, batch_size=10, evaluate=lambda: 0.1)
    assert len(history.loss) == 2 and history.score == [0.1]
    assert capsys.readouterr().out == ""


def test_in_a_notebook_one_line_and_one_picture_are_replaced(monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, value):
            updates.append(value)

    monkeypatch.setattr(training, "in_jupyter", lambda: True)
    monkeypatch.setattr(training, "PAUSE", 0)
    monkeypatch.setattr("IPython.display.display", lambda value, display_id: shown.append(value) or Handle())
    fit(falling([]), 60, epochs=2, batch_size=15, evaluate=lambda: 0.9)
    assert [type(v).__name__ for v in shown] == ["Pretty", "Image"]
    assert shown[1].data.startswith(b"\x89PNG") and "loss" in shown[1].alt
    texts = [u.data for u in updates if type(u).__name__ == "Pretty"]
    assert "░" in texts[0] and "░" not in texts[-1] and "epoch 2 of 2" in texts[-1] and "test 90.0 %" in texts[-1]


def test_no_figure_is_left_open():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    for train_score in ([], [0.6]):
        history = training.History([2.3, 1.0] * 20, [0.5], train_score)
        assert training._curves(history, 2, 20).startswith(b"\x89PNG")
    assert plt.get_fignums() == before


def test_torch_can_be_trained_with_it():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    x = torch.randn(40, 3)
    y = x @ torch.tensor([1.0, -2, 0.5])
    net = torch.nn.Linear(3, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)

    def step(batch, done):
        loss = ((net(x[batch])[:, 0] - y[batch]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    history = fit(step, 40, epochs=20, batch_size=8)
    assert history.loss[-1] < 1e-3 < history.loss[0]


def test_it_needs_neither_torch_nor_a_notebook():
    assert "torch" not in vars(training) and "pyplot" not in vars(training)
    assert sys.modules[training.__name__] is training
