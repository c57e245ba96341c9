"""Notebook 09: every number in its prose, and its functions against SciPy, scikit-learn and torch's own."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from autograder.exercise import load_all
from cnnlab import augment, modules

SLUG = "09_lenet_pytorch"
# The notebook's names are the same for every example, so the fixture need not be made afresh.
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------ tensors, gradients

def test_from_numpy_shares_memory_and_tensor_copies(nb):
    assert nb["shared"].tolist() == [100, 2, 3] and nb["copied"].tolist() == [1, 2, 3]
    assert nb["shared"].dtype == nb["copied"].dtype == torch.float64
    assert nn.Linear(3, 2).weight.dtype == torch.float32


def test_autograd_finds_the_gradients_of_notebook_05_and_adds_them_up(nb, names_of):
    assert nb["found"] == [-6, 4, 0, 2] == list(names_of("05_backpropagation")["gate_gradients"](2, -3, 1, 4, 1))
    assert nb["slopes"] == [-6, -12, -18]


def test_a_module_finds_its_parameters_and_a_wrong_size_gives_the_message_of_the_text(nb):
    names = [name for name, _ in nb["small"].named_parameters()]
    assert names == ["first.weight", "first.bias", "second.weight", "second.bias"]
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(5x5 and 3x4\)"):
        nb["small"](torch.zeros(5, 5))


# ------------------------------------------------------------------ LeNet and the weights from NumPy

def test_lenet_has_61706_parameters(nb):
    assert nb["modern"] == modules.count_parameters(nb["LeNet"]()) == 61_706
    shapes = [line.split(" + bias -> ")[1] for line in modules.layers(nb["LeNet"](), (2, 1, 32, 32))]
    assert shapes == ["(2, 6, 28, 28)", "(2, 16, 10, 10)", "(2, 120)", "(2, 84)", "(2, 10)"]


def test_the_split_is_that_of_notebook_08(nb):
    assert len(nb["train"]) == 1437 and len(nb["test"]) == 360 and nb["x_train"].shape == (1437, 1, 32, 32)
    order = np.random.default_rng(1998).permutation(1797)
    assert (nb["train"] == order[:1437]).all() and nb["x_train"].max() == 1 and nb["x_train"].min() == 0
    x = nb["standardise"](nb["x_train"])
    assert x.mean() == pytest.approx(0, abs=1e-5) and x.std() == pytest.approx(1, abs=1e-5)


def test_numpy_and_torch_agree_to_15_and_to_6_digits(nb):
    assert set(nb["exact"]) == {"logits", "loss", *dict(nb["LeNet"]().named_parameters())}
    assert len(nb["exact"]) == 12
    assert max(nb["exact"].values()) < 1e-13 and max(nb["rounded"].values()) < 1e-4
    assert np.median(list(nb["exact"].values())) < 2e-15 and np.median(list(nb["rounded"].values())) < 2e-6


@few
@given(seeds, *[st.integers(1, 4)] * 4)
def test_converted_weights_do_to_channels_first_what_the_others_did_to_channels_last(nb, seed, c, h, w, out):
    maps, dense = draw(seed, 3, c, h, w), draw(seed + 1, h * w * c, out)
    expected = maps.permute(0, 2, 3, 1).flatten(1) @ dense
    torch.testing.assert_close(F.linear(maps.flatten(1), nb["from_channels_last"](dense, (c, h, w))), expected)


def test_a_kernel_with_the_channels_last_needs_one_permute():
    kernel = draw(0, 3, 2, 4, 5)                                        # (kH, kW, C_in, C_out)
    weight = kernel.permute(3, 2, 0, 1)
    assert weight.shape == (5, 4, 3, 2) and weight[1, 2, 0, 1] == kernel[0, 1, 2, 1]


def test_only_converted_does_the_network_from_mnist_read_the_digits(nb):
    assert len(nb["mnist"]) == 10
    assert 0.9 < nb["read"]["converted"] < 0.95 and nb["read"]["transposed"] < 0.15


# ------------------------------------------------------------------ what a network has to beat

@few
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(6, 9))
def test_baselines_are_those_of_the_best_constant_answers(nb, labels, classes):
    from scipy.stats import entropy

    knows_nothing, knows_shares, best = nb["baselines"](torch.tensor(labels), classes).tolist()
    counts = np.bincount(labels)
    assert knows_nothing == pytest.approx(math.log(classes), rel=1e-5)
    assert knows_shares == pytest.approx(entropy(counts), rel=1e-4, abs=1e-6) and knows_shares <= knows_nothing + 1e-5
    assert best == pytest.approx(counts.max() / len(labels), rel=1e-5)


def test_the_digits_are_nearly_balanced_and_a_rare_class_is_not(nb):
    np.testing.assert_allclose(nb["digit_baselines"], [math.log(10), math.log(10), 0.1], atol=0.005)
    assert [round(float(v), 2) for v in nb["rare"]] == [0.69, 0.2, 0.95]


def test_lenet_starts_at_ln_10_because_torch_draws_small_weights(nb):
    np.testing.assert_allclose(nb["first_losses"], math.log(10), atol=0.01)
    for layer in nb["LeNet"]().children():
        assert layer.weight.std() < 0.5 * math.sqrt(2 / layer.weight[0].numel())  # Kaiming's


# ------------------------------------------------------------------ training

def test_ten_steps_in_torch_are_those_in_numpy(nb):
    np.testing.assert_allclose(nb["torch_losses"], nb["numpy_losses"], rtol=1e-12)


def test_by_heart_only_without_a_mistake(nb):
    assert nb["right"][0] == pytest.approx(math.log(10), abs=0.01) and nb["right"][-1] < 1e-3
    assert max(nb["forgetful"]) > 5 and min(nb["forgetful"][30:]) > 1
    assert nb["forgetful"][5] < 2                                       # "for a few steps all looks well"
    doubled = np.array(nb["doubled"])
    assert doubled[-1] == pytest.approx(1.92, abs=0.02) and doubled[-1] > math.log(math.e + 9) - 1
    assert (np.diff(doubled) < 0.01).all()                              # it falls smoothly


@few
@given(seeds, st.integers(2, 6), st.integers(1, 4), st.integers(2, 4))
def test_a_step_is_that_of_a_plain_loop_whatever_was_before(nb, seed, n, inputs, classes):
    learner = nb["Learner"](inputs, classes, 0.1).eval()
    twin = nb["Learner"](inputs, classes, 0.1)
    twin.load_state_dict(learner.state_dict())
    for i in range(3):
        x, y = draw(seed + i, n, inputs), torch.arange(n) % classes
        twin.train()
        loss = nn.CrossEntropyLoss()(twin(x), y)
        twin.optimiser.zero_grad()
        loss.backward()
        twin.optimiser.step()
        assert learner.learn(x, y) == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(learner.state_dict(), twin.state_dict())


@few
@given(seeds, st.integers(1, 20), st.integers(1, 25))
def test_the_accuracy_does_not_depend_on_the_batch_size_nor_on_the_mode(nb, seed, n, batch_size):
    model = nb["Model"](3, 4).train()
    x, y = draw(seed, n, 3), torch.arange(n) % 4
    found = model.accuracy(x, y, batch_size)
    assert found == pytest.approx((model.eval()(x).argmax(1) == y).double().mean().item())
    assert not model.training


@few
@given(seeds, st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_dropout_keeps_the_expectation_in_training_and_everything_in_evaluation(nb, seed, p):
    torch.manual_seed(seed)
    dropout, x = nb["Dropout"](p), torch.ones(4000)
    y = dropout(x)
    assert all(v == pytest.approx(1 / (1 - p)) for v in y.unique().tolist() if v)
    assert y.mean() == pytest.approx(1, abs=6 * math.sqrt(p / (1 - p) / 4000) + 1e-6)
    assert torch.equal(dropout.eval()(x), x)


def test_training_reaches_what_numpy_reached_and_dropout_left_on_costs_and_varies(nb):
    assert len(nb["history"].loss) == 450 and nb["plain_accuracy"] == nb["history"].score[-1] > 0.94
    assert nb["as_it_should_be"] > max(nb["still_dropping"]) + 0.02
    assert len(set(nb["still_dropping"])) > 1


# ------------------------------------------------------------------ distortions

@few
@given(seeds, st.tuples(*[st.integers(1, 7)] * 2), st.floats(-400, 400), st.floats(0.5, 3),
       st.tuples(*[st.floats(-3, 3)] * 2))
def test_affine_is_scipys(nb, seed, size, angle, scale, shift):
    from scipy.ndimage import affine_transform

    x, a = draw(seed, 2, 1, *size), math.radians(angle)
    back = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) / scale
    centre = (np.array(size) - 1) / 2
    expected = [affine_transform(image[0].double().numpy(), back, centre - back @ (centre + shift), order=1,
                                 mode="grid-constant") for image in x]
    np.testing.assert_allclose(nb["affine"](x, angle, scale, shift)[:, 0], expected, atol=2e-5)


def test_affine_turns_counter_clockwise_and_shifts_down_and_right(nb):
    x = draw(0, 1, 2, 5, 5)
    torch.testing.assert_close(nb["affine"](x, 90.0, 1.0, (0.0, 0.0)), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(nb["affine"](x, 0.0, 1.0, (1.0, 2.0))[..., 1:, 2:], x[..., :-1, :-2], atol=1e-5, rtol=0)
    one = torch.ones(1, 1, 9, 9)
    assert nb["affine"](F.pad(one, [9] * 4), 0.0, 2.0, (0.0, 0.0)).sum() == pytest.approx(4 * 81, rel=0.03)


def test_twenty_interpolations_blur_and_one_does_not(nb):
    def rough(x):
        return (x.diff(dim=-1) ** 2).sum()

    once = nb["affine"](nb["digit"], 360.0, 1.0, (0.0, 0.0))
    torch.testing.assert_close(once, nb["digit"], atol=1e-4, rtol=0)
    assert rough(nb["around"]) < 0.6 * rough(once)
    corners = [image[0, 0].flatten() for image in (nb["around"], nb["digit"])]
    assert np.corrcoef(*corners)[0, 1] > 0.75                           # it is where it was


@few
@given(seeds, st.integers(1, 9), st.integers(1, 9), st.floats(0.3, 3), st.floats(0.1, 40))
def test_elastic_fields_are_scipys(nb, seed, h, w, sigma, alpha):
    from scipy.ndimage import gaussian_filter

    noise = draw(seed, 2, h, w)
    expected = [alpha * gaussian_filter(part.double().numpy(), sigma, mode="constant", radius=math.ceil(3 * sigma))
                for part in noise]
    np.testing.assert_allclose(nb["elastic_field"](noise, sigma, alpha), expected, atol=2e-5 * alpha)


def test_fields_get_weaker_and_more_even_with_sigma(nb):
    assert nb["lengths"][1] > 5 > 2 > nb["lengths"][4] > 1 > nb["lengths"][8] > 0.3
    spread = {sigma: float((field.diff(dim=-1) ** 2).mean()) for sigma, field in nb["fields"].items()}
    assert spread[1] > 50 * spread[4] > 250 * spread[8]


def test_a_field_says_where_to_read(nb):
    field = torch.zeros(2, 32, 32)
    field[0] = 3                                                        # read three rows further down
    torch.testing.assert_close(nb["bend"](nb["digit"], field), nb["affine"](nb["digit"], 0.0, 1.0, (-3.0, 0.0)))


def test_the_library_distorts_as_the_text_says(nb):
    defaults = {name: p.default for name, p in inspect.signature(augment.affine_field).parameters.items()}
    assert (defaults["degrees"], defaults["scale"], defaults["shift"]) == (7.5, 0.075, 1) and defaults["shear"] > 0
    simard = {name: p.default for name, p in inspect.signature(augment.elastic_field).parameters.items()}
    assert (simard["alpha"], simard["sigma"]) == (34, 4) and "half as strong" in augment.distort.__doc__
    assert nb["variants"].shape == (16, 1, 32, 32)


# ------------------------------------------------------------------ data, robustness

def test_the_measured_errors_by_size_say_what_the_text_says(nb):
    sizes = nb["sizes"]
    assert sizes["images"].tolist() == [1000, 3000, 10000, 30000, 60000]
    plain, distorted = (dict(zip(sizes["images"], 100 * sizes[c])) for c in ("test_error", "test_error_distorted"))
    assert (round(plain[60000], 2), round(distorted[60000], 2)) == (0.72, 0.60)
    for few_images, many in [(1000, 10000), (3000, 30000)]:
        assert plain[few_images] / plain[many] == pytest.approx(4, abs=0.5)
    # The distorted error, on the straight line through the plain ones: how many images would be needed?
    sizes_plain, errors = np.log(list(plain)), np.log(list(plain.values()))
    worth = [np.exp(np.interp(-np.log(distorted[n]), -errors, sizes_plain)) / n for n in (1000, 3000, 10000, 30000)]
    assert 1.9 < min(worth) and max(worth) < 4.5
    assert 100 * math.sqrt(0.0072 * 0.9928 / 10_000) == pytest.approx(0.085, abs=0.001)


def test_distorting_is_worth_nearly_four_times_as_many_digits(nb):
    plain, distorted = nb["errors"]["as they are"], nb["errors"]["distorted"]
    assert plain == sorted(plain, reverse=True) and all(d < p for d, p in zip(distorted, plain))
    assert distorted[0] < plain[1] + 0.04 and distorted[1] < plain[2] + 0.02
    gains = [p - d for p, d in zip(plain, distorted)]
    assert gains[0] > gains[2]                                          # "the fewer there are, the more is gained"


def curve(table, change, column="accuracy"):
    rows = table["change"] == change
    return dict(zip(table["amount"][rows].tolist(), table[column][rows].tolist()))


def test_the_curves_of_robustness_say_what_the_text_says(nb):
    shift, turn, scale, noise = (curve(nb["curves"], c) for c in ("shift", "turn", "scale", "noise"))
    best = shift[0]
    assert 0.03 < best - shift[2] < 0.045 and shift[5] < best / 2 < shift[4]
    other = curve(nb["curves"], "shift", "accuracy_distorted")
    assert all(abs(other[s + 1] - shift[s]) < 0.06 for s in (3, 4, 5)) and min(other[s] - shift[s] for s in shift) > 0
    assert 0.03 < best - turn[20] < 0.045 and turn[50] == pytest.approx(best / 2, abs=0.03)
    assert turn[180] > turn[90] + 0.1
    assert min(scale[s] for s in scale if 0.7 <= s <= 1.3) >= 0.95
    rough = curve(nb["curves"], "noise", "accuracy_distorted")
    assert rough[0.5] == pytest.approx(0.25, abs=0.03) and noise[0.5] == pytest.approx(0.75, abs=0.04)
    assert turn[20] > 0.95                                              # the model answer
    assert scale[0.7] > 0.95 and scale[1.4] > 0.9
    assert 15 / 22 == pytest.approx(0.7, abs=0.05) and 30 / 22 == pytest.approx(1.4, abs=0.05)


def test_the_live_networks_are_worse_far_out_and_distortions_help(nb):
    for change in ("shift", "turn", "scale", "noise"):
        plain, distorted = nb["live"][change, "as they are"], nb["live"][change, "distorted"]
        assert plain[0] > plain[2] and distorted[1] > plain[1] and np.mean(distorted) > np.mean(plain)


def test_every_digit_of_the_mosaic_is_taken_some_way(nb):
    assert nb["good"].shape[1] == 10 and nb["good"][0].all()


def test_a_six_becomes_a_four_a_seven_and_a_nine(nb):
    assert nb["said"][0] == 6 and nb["said"][-1] == 9 and {4, 7} <= set(nb["said"].tolist())
    assert (nb["belief"].max(axis=1) > 0.9).sum() > 9                        # "and is sure of it"
    sixes = nb["affine"](nb["x_test"][nb["y_test"] == 6], 180.0, 1.0, (0.0, 0.0))
    with torch.no_grad():
        answers = nb["read_back"]("distorted").eval()(nb["standardise"](sixes)).argmax(1)
    assert (answers == 9).double().mean() > 0.5


# ------------------------------------------------------------------ errors

@few
@given(seeds, st.integers(1, 40), st.integers(2, 7))
def test_the_confusion_matrix_is_scikit_learns(nb, seed, n, classes):
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(seed)
    labels, said = rng.integers(0, classes, (2, n))
    mine = nb["confusion_matrix"](torch.tensor(labels), torch.tensor(said), classes)
    assert mine.dtype == torch.int64
    np.testing.assert_array_equal(mine, confusion_matrix(labels, said, labels=range(classes)))


def test_60_of_10000_are_wrong_and_which(nb):
    counts = nb["of_mnist"] - np.diag(np.diag(nb["of_mnist"]))
    assert nb["of_mnist"].sum() == 10_000 and counts.sum() == 60
    assert counts[9, 4] == counts[5, 3] == counts.max() == 5 and (counts[4, 9], counts[3, 5]) == (2, 1)
    assert nb["mine"].sum() == 360


def test_the_errors_that_are_shown_are_those_of_the_matrix(nb):
    errors = nb["table"], nb["wrong"]
    again = np.zeros((10, 10), int)
    np.add.at(again, (errors[1]["labels"], errors[1]["p"].argmax(axis=1)), 1)
    np.testing.assert_array_equal(again, nb["of_mnist"] - np.diag(np.diag(nb["of_mnist"])))
    assert nb["second"] == 47 and nb["sure"] == 20 == len(errors[1]["p"]) // 3
    net = nb["carry"](nb["mnist"], nb["LeNet"]()).eval()
    with torch.no_grad():
        x = (F.pad(torch.tensor(errors[1]["images"])[:, None].float(), [2] * 4) / 255 - 0.1307) / 0.3081
        np.testing.assert_allclose(net(x).softmax(1), errors[1]["p"], atol=1e-4)


# ------------------------------------------------------------------ the room

def test_the_notebook_is_graded_with_what_it_imports_in_the_room():
    entries = load_all()[SLUG]
    absent = set.intersection(*(set(e.forbidden) for e in entries))
    assert not {"cnnlab.layers", "cnnlab.augment"} & absent
    forbidden = {e.id: e.forbidden for e in entries}
    assert "cnnlab.augment" in forbidden["affine"] and "cnnlab.augment" in forbidden["elastic_field"]
