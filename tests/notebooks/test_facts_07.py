"""Notebook 07: every number in its prose, and its functions against torch and SymPy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.exercise import draw_hidden, load_all, ship
from cnnlab.calls import Local
from cnnlab.checks import judge

SLUG = "07_normalisation"
# The notebook's names are the same for every example, so the fixture need not be made afresh.
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def exactly(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10)


# ------------------------------------------------------------------ the size of the numbers

def test_thirty_layers_of_scale_1_25_make_numbers_808_times_as_large(nb):
    assert nb["growth"] == pytest.approx(1.25 ** 30) and round(nb["growth"]) == 808
    assert nb["sizes"][1.0][-1] / nb["sizes"][0.8][-1] == pytest.approx(nb["growth"])
    assert max(nb["sizes"][1.0]) / min(nb["sizes"][1.0]) < 4


def test_batch_norm_makes_the_three_curves_one(nb):
    curves = np.array(list(nb["normalised_sizes"].values()))
    np.testing.assert_allclose(curves - curves[0], 0, atol=1e-3)
    assert curves.max() / curves.min() < 1.2
    assert nb["scale_effect"] < 1e-5


# ------------------------------------------------------------------ which entries share a mean

def test_the_blocks_show_what_each_norm_shares(nb):
    n, c, p = nb["N"], nb["C"], nb["P"]
    assert {k: int(v.sum()) for k, v in nb["shared"].items()} == {
        "batch norm": n * p, "layer norm": c * p, "instance norm": p, "group norm, 2 groups": c // 2 * p}


@pytest.mark.parametrize(("norm", "name"), [
    (lambda x: F.batch_norm(x, None, None, training=True), "batch norm"),
    (lambda x: F.layer_norm(x, x.shape[1:]), "layer norm"),
    (lambda x: F.instance_norm(x), "instance norm"),
    (lambda x: F.group_norm(x, 2), "group norm, 2 groups")])
def test_the_entries_that_the_figure_fills_are_those_that_torch_normalises_together(nb, norm, name):
    shared = nb["shared"][name]                                           # (N, C, P)
    x = torch.randn(*shared.shape, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    filled = x[..., 0].numpy()[shared]
    expected = (filled - filled.mean()) / np.sqrt(filled.var() + 1e-5)
    exactly(norm(x)[..., 0].numpy()[shared], expected)


def test_batch_norm_keeps_the_flower_dark_and_instance_norm_does_not(nb):
    assert nb["brightness"]["batch norm"].round(2).tolist() == [0.58, -0.46, -0.13]
    exactly(nb["brightness"]["instance norm"], [0, 0, 0])
    np.testing.assert_allclose(nb["by_instance"].std(axis=(1, 2, 3)), 1, atol=1e-3)
    exactly(nb["by_instance"], F.instance_norm(torch.tensor(nb["three"])).numpy())


def test_the_portrait_is_darker_in_bright_company(nb):
    assert {k: round(v, 2) for k, v in nb["company_means"].items()} == {"bright": -0.45, "dark": 0.27}
    assert {k: round(v, 2) for k, v in nb["company_stds"].items()} == {"bright": 0.84, "dark": 1.09}
    means = nb["three"].mean(axis=(1, 2, 3))
    assert means[0] > means[2] > means[1]                                # the garden is bright, the flower dark


# ------------------------------------------------------------------ running statistics

def test_one_to_four_give_0_25_and_1_0667_as_in_torch(nb):
    layer = torch.nn.BatchNorm2d(1, dtype=torch.float64)
    layer(torch.tensor(nb["four"]))
    assert nb["one_mean"] == pytest.approx(layer.running_mean.item()) == pytest.approx(0.25)
    assert nb["one_var"] == pytest.approx(layer.running_var.item())
    assert round(nb["one_var"], 4) == 1.0667 and nb["biased_var"] == pytest.approx(1.025)


def test_momentum_0_1_forgets_its_start_in_40_steps_and_0_01_not_in_150(nb):
    assert 0.9 ** 40 == pytest.approx(0.015, abs=5e-4) and 0.99 ** 150 == pytest.approx(0.22, abs=5e-3)
    target = np.array(nb["targets"])
    assert (np.abs(nb["curves"][0.1][39:] / target - 1) < 0.03).all()
    assert (nb["curves"][0.01][-1] / target < 0.85).all()


def test_evaluation_after_one_step_is_far_off(nb):
    assert nb["after"][1] == (2.08, 2.85)
    assert nb["after"][150] == (0, 1)


# ------------------------------------------------------------------ backward

def test_the_derived_gradient_is_the_symbolic_one():
    x, g = sympy.symbols("x:3", real=True), sympy.symbols("g:3", real=True)
    eps = sympy.Symbol("epsilon", positive=True)
    mean = sum(x) / 3
    s = sympy.sqrt(sum((v - mean) ** 2 for v in x) / 3 + eps)
    xhat = [(v - mean) / s for v in x]
    loss = sum(a * b for a, b in zip(g, xhat))
    along = sum(a * b for a, b in zip(g, xhat)) / 3
    for i in range(3):
        derived = (g[i] - sum(g) / 3 - xhat[i] * along) / s
        assert sympy.simplify(sympy.diff(loss, x[i]) - derived) == 0
        # the two steps of the text: ds/dx = xhat / N, and its own xhat
        assert sympy.simplify(sympy.diff(s, x[i]) - xhat[i] / 3) == 0


def test_the_two_invariants(nb):
    for eps, (total, along, promised) in nb["invariants"].items():
        assert abs(total) < 1e-12
        assert along == pytest.approx(promised, rel=1e-6, abs=1e-12)
    sizes = [abs(along) for _, along, _ in nb["invariants"].values()]
    assert sizes[0] > 10 * sizes[1] > 100 * sizes[2]


def test_a_bias_before_batch_norm_is_useless(nb):
    assert np.abs(nb["bias_gradient"]).max() < 1e-11 and np.abs(nb["dbeta"]).max() > 1
    assert nb["bias_effect"] < 1e-11
    conv = torch.nn.Conv2d(1, 4, 3, dtype=torch.float64)
    norm = torch.nn.BatchNorm2d(4, dtype=torch.float64)
    out = norm(conv(torch.tensor(nb["batch"])))
    out.backward(torch.tensor(nb["upstream"]))
    assert conv.bias.grad.abs().max() < 1e-11 < conv.weight.grad.abs().max()


# ------------------------------------------------------------------ the layer and the network

def test_evaluation_mode_does_not_see_the_company(nb):
    assert nb["mode_gap"]["evaluation"] == 0 and nb["mode_gap"]["training"] > 1


def test_one_folded_convolution_does_the_work_of_two_layers(nb):
    assert nb["fold_error"] < 1e-12
    expected = F.conv2d(*map(torch.tensor, (nb["batch"], nb["folded_weight"], nb["folded_bias"]))).numpy()
    exactly(nb["conv"](nb["batch"], nb["folded_weight"], nb["folded_bias"]), expected)


def test_batch_norm_tolerates_large_steps_and_small_weights(nb):
    results = {(kind.__name__, scale): dict(zip(nb["rates"], values))
               for (kind, scale), values in nb["results"].items()}
    plain, normed = results["AddBias", 1.0], results["BatchNorm2d", 1.0]
    assert min(plain[0.01], normed[0.01]) > 0.6 and plain[0.1] > 0.85     # both learn with small steps
    assert plain[0.3] < 0.8 and plain[1] < 0.2 and plain[3] < 0.2 and normed[3] > 0.9
    plain, normed = results["AddBias", 0.5], results["BatchNorm2d", 0.5]
    assert max(plain.values()) < 0.9 and plain[0.01] < 0.3 and min(normed.values()) > 0.75


@pytest.mark.parametrize("forgotten", ["mean", "variance", "both"])
def test_a_network_still_learns_when_a_term_of_the_gradient_is_forgotten(nb, forgotten):
    class Forgets(nb["BatchNorm2d"]):
        def backward(self, dy):
            dx = super().backward(dy)
            g, over = self.weight[:, None, None] * dy, {"axis": (0, 2, 3), "keepdims": True}
            if forgotten in ("mean", "both"):
                dx = dx + g.mean(**over) / self.root
            if forgotten in ("variance", "both"):
                dx = dx + self.xhat * (g * self.xhat).mean(**over) / self.root
            return dx

    assert nb["fit"](Forgets, 1.0, 0.1)[1] > 0.5                          # chance is 0.1


def test_the_gradients_of_the_network_are_torchs(nb):
    """`step` once, against autograd."""
    weights, layers = nb["make_network"](nb["BatchNorm2d"], 1.0)
    x, y = nb["inputs_all"][:32], nb["labels"][:32]
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    h = torch.tensor(x)
    for w in tensors[:-1]:
        h = torch.relu(F.batch_norm(h @ w, None, None, training=True))
    F.cross_entropy(h @ tensors[-1], torch.tensor(y)).backward()
    nb["step"]((weights, layers), x, y, 0.1)
    for after, tensor in zip(weights, tensors):
        np.testing.assert_allclose(after, (tensor - 0.1 * tensor.grad).detach().numpy(), atol=1e-10)


def test_left_in_training_mode_accuracy_depends_on_the_batches(nb):
    mixed, by_class = nb["left_on"]["mixed"], nb["left_on"]["sorted by class"]
    assert nb["eval_accuracy"] > 0.9
    assert mixed[0] < 0.5 and mixed[-1] > 0.9 and max(by_class) < 0.6
    assert all(m > s for m, s in zip(mixed, by_class))
    counts = np.bincount(nb["labels"][nb["test"]])
    assert (counts.min(), counts.max()) == (33, 50)
    spans = [len(set(nb["labels"][nb["by_class"]][i:i + 64])) for i in range(0, 384, 64)]
    assert set(spans) <= {2, 3}


def test_a_single_example_gives_the_same_answer_to_everything(nb):
    layer = nb["BatchNorm2d"](np.array([2.0, 3]), np.array([0.5, -1]))
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):        # of the unbiased variance of one number
        exactly(layer.forward(np.array([[7.0, -4]])[:, :, None, None]).ravel(), [0.5, -1])
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torch.nn.BatchNorm1d(2)(torch.ones(1, 2))


# ------------------------------------------------------------------ LRN, dropout, weight decay, augmentation

def test_the_neighbours_of_a_strong_channel_are_pushed_down_to_an_eighth(nb):
    ratio = nb["lrn_peak"] / nb["lrn_flat"]
    assert np.flatnonzero(ratio < 0.5).tolist() == [4, 5, 7, 8]
    assert round(1 / ratio[5]) == 8 and round(ratio[6], 1) == 1.3
    exactly(np.delete(ratio, [4, 5, 6, 7, 8]), np.ones(8))
    assert nb["lrn_flat"][0] > nb["lrn_flat"][1] > nb["lrn_flat"][2]


def test_torch_divides_alpha_by_n(nb):
    x = np.random.default_rng(0).normal(size=(2, 7, 3, 2)) * 20
    exactly(nb["local_response_norm"](x), F.local_response_norm(torch.tensor(x), 5, 5e-4, 0.75, 2.0).numpy())


def test_dropout_keeps_the_expectation_and_adds_noise_as_large_as_the_pixel(nb):
    assert nb["mean_error"] < 1 and nb["five"].max() == 16
    assert round(nb["spread"].mean(), 2) == 1


def test_weights_before_batch_norm_have_a_gradient_across_them(nb):
    assert nb["gradient_ratio"] == pytest.approx(3, rel=1e-6)
    assert np.abs(nb["cosine"]).max() < 1e-9


def test_there_are_2178_crops_and_flips_of_which_the_paper_counts_2048(nb):
    assert nb["places"] == 2 * 33 ** 2 == 2178 and 2 * 32 ** 2 == 2048
    assert all(crop.shape == (224, 224, 3) for crop in nb["crops"])


def test_the_first_principal_colour_is_brightness(nb):
    first, second = nb["colour_vectors"][:, 0], nb["colour_vectors"][:, 1]
    assert first.min() > 0.5 and first.max() < 0.7
    assert second[0] * second[2] < 0 and abs(second[1]) < 0.1            # red against blue
    assert nb["colour_values"][0] > 40 * nb["colour_values"][1]
    assert nb["usual"].mean().round(2) == 0.02 and 255 ** 2 == 65025


def test_an_answer_that_calls_eigh_itself_is_told_so():
    """By a rule for the signs, which must be that of LAPACK on these probes, hidden ones included."""
    def colour(order):
        def pca_colour(image, alpha):
            values, vectors = np.linalg.eigh(np.cov(image.reshape(3, -1), bias=True))
            return image + (vectors[:, ::order] @ (alpha * values[::order]))[:, None, None]
        return pca_colour

    (entry,) = (e for e in load_all()[SLUG] if e.id == "pca_colour")
    shipped, hidden = ship(entry, entry.id), draw_hidden(entry, entry.id, 0).probes
    assert judge(shipped, Local(colour(1)), hidden).mistake == "eigh_order_and_signs"
    assert judge(shipped, Local(colour(-1)), hidden).mistake == "eigh_signs"


# ------------------------------------------------------------------ against torch, on random input

@st.composite
def tables(draw):
    """dy and x (N, D), gamma and beta (D,), eps."""
    n, d = draw(st.integers(3, 7)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return (*rng.normal(size=(2, n, d)), *rng.normal(size=(2, d)), draw(st.sampled_from([1e-5, 0.01, 1.0])))


@st.composite
def batches(draw):
    """Two batches x and x2, a gradient for each, weight, bias, eps and momentum."""
    n, c, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    first, second = rng.normal(size=(2, n, c, h, w)), rng.normal(size=(2, n + 1, c, h, w))
    return (*first, *second, *rng.normal(size=(2, c)), draw(st.sampled_from([1e-5, 0.1])),
            draw(st.sampled_from([0.1, 0.3, 1.0])))


@few
@given(tables())
def test_dense_batch_norm_forward_and_backward_are_torchs(nb, table):
    dy, x, gamma, beta, eps = table
    xt, gt, bt = (torch.tensor(a, requires_grad=True) for a in (x, gamma, beta))
    y = F.batch_norm(xt, None, None, gt, bt, training=True, eps=eps)
    y.backward(torch.tensor(dy))
    exactly(nb["batch_norm_dense"](x, gamma, beta, eps), y.detach().numpy())
    for ours, theirs in zip(nb["batch_norm_backward"](dy, x, gamma, eps), (xt, gt, bt)):
        exactly(ours, theirs.grad.numpy())


@few
@given(batches())
def test_the_layer_is_torchs_in_both_modes(nb, batch):
    x, dy, x2, dy2, weight, bias, eps, momentum = batch
    ours = nb["BatchNorm2d"](weight, bias, eps, momentum)
    theirs = torch.nn.BatchNorm2d(len(weight), eps, momentum, dtype=torch.float64)
    theirs.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)}, strict=False)
    for values, upstream in ((x, dy), (x2, dy2)):
        xt = torch.tensor(values, requires_grad=True)
        theirs.zero_grad()
        yt = theirs(xt)
        yt.backward(torch.tensor(upstream))
        exactly(ours.forward(values), yt.detach().numpy())
        exactly(ours.backward(upstream), xt.grad.numpy())
        exactly(ours.grad_weight, theirs.weight.grad.numpy())
        exactly(ours.grad_bias, theirs.bias.grad.numpy())
        exactly(nb["batch_norm_conv"](values, weight, bias, eps), yt.detach().numpy())
    ours.eval(), theirs.eval()
    exactly(ours.forward(x), theirs(torch.tensor(x)).detach().numpy())
    exactly(ours.running_mean, theirs.running_mean.numpy())
    exactly(ours.running_var, theirs.running_var.numpy())


@few
@given(batches())
def test_folding_changes_no_output(nb, batch):
    x, *_, weight, bias, eps, momentum = batch
    rng = np.random.default_rng(0)
    kernel, conv_bias = rng.normal(size=(len(weight), len(weight), 1, 2)), rng.normal(size=len(weight))
    mean, var = rng.normal(size=len(weight)), rng.random(len(weight))
    both = F.batch_norm(F.conv2d(*map(torch.tensor, (x, kernel, conv_bias))),
                        *map(torch.tensor, (mean, var, weight, bias)), eps=eps)
    folded = nb["fold_batch_norm"](kernel, conv_bias, weight, bias, mean, var, eps)
    exactly(F.conv2d(torch.tensor(x), *map(torch.tensor, folded)).numpy(), both.numpy())


@few
@given(batches(), st.sampled_from([1, 3, 5, 9]), st.sampled_from([0.1, 1.0]), st.sampled_from([0.5, 0.75]))
def test_local_response_norm_is_torchs_with_alpha_times_n(nb, batch, n, alpha, beta):
    x = batch[0]
    expected = F.local_response_norm(torch.tensor(x), n, alpha * n, beta, 1.5).numpy()
    exactly(nb["local_response_norm"](x, n, 1.5, alpha, beta), expected)


@few
@given(batches(), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_dropout_is_linear_with_the_same_mask_both_ways(nb, batch, p):
    x, dy = batch[:2]
    u = np.random.default_rng(1).random(x.shape)
    y, dx = nb["dropout"](x, dy, u, p)
    exactly(y, np.where(u < p, 0, x / (1 - p)))
    assert (y * dy).sum() == pytest.approx((x * dx).sum())               # the adjoint of a diagonal map is itself


@few
@given(st.integers(0, 2**32))
def test_the_colour_shift_is_one_vector_and_independent_of_who_orders_the_eigenvectors(nb, seed):
    rng = np.random.default_rng(seed)
    image, alpha = rng.random((3, 4, 5)), rng.normal(size=3)
    shift = nb["pca_colour"](image, alpha) - image
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-12)
    values, vectors = torch.linalg.eig(torch.cov(torch.tensor(image).reshape(3, -1), correction=0))
    pairs = sorted(zip(values.real.tolist(), vectors.real.T.numpy()), key=lambda pair: -pair[0])
    expected = sum(a * value * vector * np.sign(vector.sum()) for a, (value, vector) in zip(alpha, pairs))
    np.testing.assert_allclose(shift[:, 0, 0], expected, atol=1e-9)
