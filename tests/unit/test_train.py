"""Training torch's networks: what is learned, what is reported, and that breaking off changes nothing."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.data import digits
from cnnlab.train import MEAN, STD, Recipe, evaluate, normalise, predict, train


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digit_sets():
    x, y = digits()
    x = (x / 16 * 255).astype(np.uint8)
    return (x[:600], y[:600]), (x[600:900], y[600:900])


def small(seed=0, drop=0.2):
    """Something of everything that has a state: weights, running statistics, dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Dropout(drop), nn.Linear(8 * 4 * 4, 10))


RECIPE = Recipe(epochs=3, batch_size=50, lr=0.1, augment="distort", warmup=0.5, seed=3)


def equal_weights(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_digits_are_learned(digit_sets, capsys):
    net = small(drop=0)
    history = train(net, *digit_sets, Recipe(epochs=4, batch_size=32, lr=0.1))
    assert history.score[-1] > 0.8 and history.stopped == ""
    assert len(history.loss) == 4 * 19 and len(history.score) == len(history.train_score) == 4
    assert history.score[-1] == evaluate(net, digit_sets[1]) and not net.training
    assert "epoch 4 of 4, loss " in capsys.readouterr().out


def test_the_train_accuracy_is_of_the_images_as_they_were_met(digit_sets):
    net = small(drop=0)
    history = train(net, *digit_sets, Recipe(epochs=1, batch_size=600, lr=0.0), quiet=True)
    net.train()
    with torch.no_grad():
        met = net(normalise(digit_sets[0][0])).argmax(1).numpy() == digit_sets[0][1]
    assert history.train_score == [met.mean()]


def test_the_same_seeds_give_the_same_weights_whatever_was_drawn_before(digit_sets):
    nets = [small(), small(), small()]
    for net, seed, drawn in zip(nets, (3, 3, 4), (1, 2, 1), strict=True):
        torch.manual_seed(drawn)
        train(net, *digit_sets, Recipe(epochs=1, batch_size=50, augment="crop-flip", seed=seed), quiet=True)
        after = torch.rand(1)
        torch.manual_seed(drawn)
        assert after == torch.rand(1)  # and training draws none of the caller's random numbers
    assert equal_weights(nets[0], nets[1]) and not equal_weights(nets[0], nets[2])


@pytest.mark.parametrize("epoch", [1, 2])
def test_broken_off_and_resumed_gives_the_same_weights_to_the_bit(epoch, digit_sets, tmp_path):
    whole, broken, resumed = small(), small(), small(seed=9)
    expected = train(whole, *digit_sets, RECIPE, quiet=True)
    file, met = tmp_path / "a.pt", []

    class Interrupt(nn.Module):
        def forward(self, x):
            met.append(x)
            if len(met) == epoch * (12 + 1) + 6:  # in the middle of the epoch after; one call is of the evaluation
                raise KeyboardInterrupt
            return x

    history = train(nn.Sequential(*broken, Interrupt()), *digit_sets, RECIPE, checkpoint=file, quiet=True)
    assert history.stopped == f"Interrupted after {12 * epoch + 5} steps." and len(history.score) == epoch
    history = train(resumed, *digit_sets, RECIPE, checkpoint=file, quiet=True)
    assert equal_weights(whole, resumed)
    assert history.loss == expected.loss and history.score == expected.score
    assert history.train_score == expected.train_score


def test_a_finished_training_is_only_read(digit_sets, tmp_path):
    first, second = small(), small(seed=9)
    a = train(first, *digit_sets, RECIPE, checkpoint=tmp_path / "a.pt", quiet=True)
    b = train(second, *digit_sets, RECIPE, checkpoint=tmp_path / "a.pt", quiet=True)
    assert a == b and equal_weights(first, second)


def test_a_crash_while_writing_leaves_the_checkpoint_before(digit_sets, tmp_path, monkeypatch):
    def half(state, path):
        with open(path, "wb") as f:
            f.write(b"half")
        raise OSError("No space left on device")

    file = tmp_path / "a.pt"
    train(small(), *digit_sets, RECIPE, checkpoint=file, quiet=True)
    before = file.read_bytes()
    state = torch.load(file, weights_only=True)
    state["history"] |= {"loss": [], "score": [], "train_score": []}
    torch.save(state, file)
    before = file.read_bytes()
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        train(small(), *digit_sets, RECIPE, checkpoint=file, quiet=True)
    assert file.read_bytes() == before


def test_the_checkpoint_of_another_training_is_refused(digit_sets, tmp_path):
    file = tmp_path / "a.pt"
    recipe = Recipe(epochs=1, batch_size=300, schedule=(0.5, 0.75))
    train(small(), *digit_sets, recipe, checkpoint=file, quiet=True)
    with pytest.raises(ValueError, match=r"a.pt is of another training \(epochs 1, now 2; lr 0.05, now 0.2\)"):
        train(small(), *digit_sets, Recipe(epochs=2, batch_size=300, lr=0.2, schedule=(0.5, 0.75)), checkpoint=file)
    with pytest.raises(ValueError, match=r"\(600 images, now 300\)"):
        train(small(), digit_sets[1], digit_sets[1], recipe, checkpoint=file)
    with pytest.raises(ValueError, match="is of another network"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), *digit_sets, recipe, checkpoint=file)
    file.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ValueError, match="is no checkpoint"):
        train(small(), *digit_sets, recipe, checkpoint=file)


def test_a_loss_that_is_not_finite_stops_it_and_leaves_the_weights_finite(digit_sets, capsys):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.Linear(50, 50), nn.Linear(50, 10))
    history = train(net, *digit_sets, Recipe(epochs=5, batch_size=20, lr=1e12))
    assert "the loss of step" in history.stopped and "learning rate" in history.stopped
    assert len(history.score) == len(history.train_score) == 0
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert history.stopped in capsys.readouterr().out


def test_while_nbgrader_grades_two_steps_are_made_and_nothing_is_written(digit_sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    history = train(small(), *digit_sets, RECIPE, checkpoint=tmp_path / "a.pt")
    assert len(history.loss) == 2 and not list(tmp_path.iterdir()) and capsys.readouterr().out == ""


def test_a_compiled_training_takes_the_same_course(digit_sets, monkeypatch):
    # All of torch.compile but the last step, which calls a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    recipe = Recipe(epochs=1, batch_size=90, lr=0.1)  # six batches and a smaller one
    plain, compiled = small(drop=0), small(drop=0)
    expected = train(plain, *digit_sets, recipe, quiet=True)
    assert train(compiled, *digit_sets, recipe, quiet=True, compile=True).loss == pytest.approx(expected.loss, rel=1e-5)
    assert list(compiled.state_dict()) == list(plain.state_dict()) and compiled[0].weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.filterwarnings("default")  # of torch's compiler
@pytest.mark.parametrize("options", [{}, {"graph": True}, {"compile": True}, {"compile": True, "graph": True}])
def test_on_a_gpu_it_takes_the_same_course(options, digit_sets):
    recipe = Recipe(epochs=2, batch_size=90, lr=0.1)
    expected = train(small(drop=0), *digit_sets, recipe, quiet=True)
    got = train(small(drop=0), *digit_sets, recipe, quiet=True, device="cuda", precision="float32", **options)
    assert got.loss == pytest.approx(expected.loss, rel=0.02)
    rounded = train(small(drop=0), *digit_sets, recipe, quiet=True, device="cuda", **options)
    assert rounded.loss == pytest.approx(expected.loss, rel=0.1) and rounded.loss != got.loss


def test_in_bfloat16_products_are_rounded_and_weights_are_not(digit_sets):
    seen, recipe = [], Recipe(epochs=1, batch_size=100, lr=0.1)
    rounded, plain = small(drop=0), small(drop=0)
    rounded[0].register_forward_hook(lambda module, x, y: seen.append((y.dtype, module.training)))
    got = train(rounded, *digit_sets, recipe, precision="bfloat16", quiet=True)
    expected = train(plain, *digit_sets, recipe, quiet=True)
    assert set(seen) == {(torch.bfloat16, True), (torch.bfloat16, False)}  # while it learns and while it is tested
    assert {p.dtype for p in rounded.parameters()} == {torch.float32}
    assert got.loss != expected.loss and got.loss == pytest.approx(expected.loss, rel=0.05)


def test_an_unknown_precision_is_named(digit_sets):
    with pytest.raises(ValueError, match='"float32" or "bfloat16", not \'half\''):
        train(small(), *digit_sets, RECIPE, precision="half")


def test_learning_rates_by_hand():
    flat = Recipe(epochs=10, lr=0.4, schedule="constant", warmup=2)
    assert [flat.rate(d) for d in (0, 0.1, 0.2, 0.9)] == pytest.approx([0, 0.2, 0.4, 0.4])
    assert [Recipe(lr=0.4).rate(d) for d in (0, 0.5, 1)] == pytest.approx([0.4, 0.2, 0])
    falling = Recipe(lr=0.4, schedule=(0.5, 0.75))
    assert [falling.rate(d) for d in (0.49, 0.5, 0.74, 0.75)] == pytest.approx([0.4, 0.04, 0.04, 0.004])


def test_each_step_has_the_learning_rate_of_its_place(digit_sets):
    # One weight w, whose gradient is 0, and a decay of 1: w <- w (1 - rate).
    net = small(drop=0)
    net.register_parameter("w", nn.Parameter(torch.ones((), dtype=torch.float64)))
    net[0].register_forward_pre_hook(lambda module, x: x[0] + 0 * net.w.float())
    recipe = Recipe(epochs=2, batch_size=200, lr=0.1, momentum=0, weight_decay=1.0)
    train(net.float(), *digit_sets, recipe, quiet=True)
    assert net.w.item() == pytest.approx(np.prod([1 - recipe.rate(i / 6) for i in range(6)]), rel=1e-5)


def test_predict_is_the_model_on_normalised_images_and_leaves_its_mode(digit_sets):
    x = digit_sets[1][0]
    net = small().train()
    logits = predict(net, x, batch_size=70)
    assert net.training and not logits.requires_grad
    net.eval()
    mean, std = MEAN[1][0], STD[1][0]
    with torch.no_grad():
        torch.testing.assert_close(logits, net(torch.tensor((x[:, None] / 255 - mean) / std, dtype=torch.float32)))
    assert predict(net.double(), x).dtype == torch.float64


def test_each_channel_has_its_own_mean_and_deviation():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    by_hand = np.stack([(x[:, c] / 255 - MEAN[3][c]) / STD[3][c] for c in range(3)], 1)
    np.testing.assert_allclose(normalise(x), by_hand, rtol=1e-5, atol=1e-6)


def test_arrays_that_are_read_only_or_run_backwards_will_do(digit_sets):
    x, y = digit_sets[1]
    y = y[::-1]
    x = x[::-1]
    x.flags.writeable = False
    assert 0 <= evaluate(small(), (x, y)) <= 1


@pytest.mark.parametrize("images, labels, message", [
    (np.zeros((4, 8, 8)), np.zeros(4, int), r"uint8, from 0 to 255.* these are float64 of shape \(4, 8, 8\)"),
    (np.zeros((4, 64), np.uint8), np.zeros(4, int), r"these are uint8 of shape \(4, 64\)"),
    (np.zeros((4, 2, 8, 8), np.uint8), np.zeros(4, int), "1 channel or 3"),
    (np.zeros((4, 8, 8), np.uint8), np.zeros(3, int), r"shape \(4,\), one for each image; these are int64"),
    (np.zeros((4, 8, 8), np.uint8), np.zeros(4), "whole numbers .* these are float64"),
    (np.zeros((0, 8, 8), np.uint8), np.zeros(0, int), "one for each image"),
])
def test_what_cannot_be_used_is_named(images, labels, message):
    with pytest.raises(ValueError, match=message):
        train(small(), (images, labels), (images, labels), Recipe(epochs=1))


def test_an_unknown_augmentation_or_schedule_is_named_with_those_there_are(digit_sets):
    with pytest.raises(ValueError, match="no augmentation 'mirror'; choose one of none, crop"):
        train(small(), *digit_sets, Recipe(augment="mirror"))
    with pytest.raises(ValueError, match="not 'step'"):
        Recipe(schedule="step")


def test_it_is_imported_without_torch():
    code = "import sys; sys.modules['torch'] = None; import cnnlab.train as t; t.Recipe(); t.predict(None, None)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert said.splitlines()[-1] == ("ModuleNotFoundError: Training networks needs PyTorch, which is not installed; "
                                     "run `pip install torch`.")
