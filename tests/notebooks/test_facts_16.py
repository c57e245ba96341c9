"""Notebook 16: every number in its prose, its functions against other ways to compute them, and what its runs show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

from cnnlab import report, results
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import load

SLUG = "16_what_convnets_see"
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 4)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape))


def small_net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(36, 4)).double()


# ------------------------------------------------------------------ images

@few
@given(seeds, sizes, sizes, sizes)
def test_rows_to_images_undoes_what_made_the_rows(nb, seed, n, h, w):
    images = np.random.default_rng(seed).integers(0, 256, (n, h, w, 3)).astype(np.uint8)
    rows = torch.from_numpy(images.transpose(0, 3, 1, 2).reshape(n, -1).copy())
    got = nb["rows_to_images"](rows, h, w)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), images / 255, atol=1e-6)


def test_the_wrong_reshape_shows_three_times_three_flowers(nb):
    planes, wrong = nb["rows"][1].reshape(3, 32, 32), nb["wrong"][1]
    # Row 0 of the picture is rows 0 to 2 of the red plane, side by side, each a third as wide.
    np.testing.assert_array_equal(wrong[0].flatten(), planes[0, :3].flatten())
    assert int(32 / 3) * 3 * 32 <= 1024 and 3 * 32 * 32 == 3072


@few
@given(seeds, st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_prepared_images_can_be_brought_back(nb, seed, size, more, wider):
    image = np.random.default_rng(seed).integers(0, 256, (size + more, size + wider, 3)).astype(np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = nb["prepare_image"](torch.from_numpy(image), mean, std, size)
    back = x[0].permute(1, 2, 0).numpy() * std + mean
    r, c = more // 2, wider // 2
    np.testing.assert_allclose(255 * back, image[r:r + size, c:c + size], atol=1e-3)


def test_what_wrong_inputs_cost(nb):
    cost = nb["cost"]
    assert cost["as in training"] == pytest.approx(nb["accuracy"], abs=0.002)
    assert min(cost, key=cost.get) == "normalised, but from 0 to 255" and min(cost.values()) < 0.12
    right = cost["as in training"]
    assert right - cost["red and blue exchanged"] == pytest.approx(0.17, abs=0.005)
    assert right - cost["each image by its own mean and std"] == pytest.approx(0.09, abs=0.005)
    assert abs(right - cost["all by mean and std of the test images"]) < 0.001


# ------------------------------------------------------------------ looking in

def test_filters_of_the_first_layer(nb):
    assert nb["colour"][1].weight.shape == (32, 3, 7, 7) and nb["filters"].shape[0] == 32
    grey = np.ones((1, 3, 2, 2)) * 5
    f = torch.from_numpy(grey)
    assert float(1 - 3 * f.mean(1, keepdim=True).pow(2).sum() / f.pow(2).sum()) == pytest.approx(0)
    share = nb["coloured"].numpy()
    assert (share < 0.2).sum() == 17 and (share > 0.8).sum() == 4                    # "the first row and a half"
    assert nb["accuracy"] == pytest.approx(0.8, abs=0.001) and nb["counts"].sum() == 10_000
    assert sum(p.numel() for p in nb["colour"].parameters()) == 83_898


def test_activations_are_those_of_the_layers_run_one_by_one(nb):
    image = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    recorder, x = nb["Recorder"](nb["colour"]), image
    with torch.no_grad():
        for number, layer in enumerate(nb["colour"]):
            x = layer(x)
            torch.testing.assert_close(recorder.activation(str(number), image), x)
    assert recorder.hooks() == 0


def test_the_check_tells_of_a_relu_in_place(nb):
    class Answer(nb["Inspector"]):
        def activation(self, name, x):
            kept = []
            handle = self.net.get_submodule(name).register_forward_hook(lambda *given: kept.append(given[-1]))
            self.net(x)
            handle.remove()
            return kept[0]

    verdict = judge(load("activation"), Local(Answer))
    assert verdict.score == 0 and "in place" in report.text(verdict)


def test_the_fields_of_the_units_are_those_of_the_network(nb):
    for name, (field, step, start) in nb["FIELDS"].items():
        x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        y = x
        for layer in list(nb["colour"])[:int(name) + 1]:
            layer = {nn.ReLU: nn.Identity(), nn.MaxPool2d: nn.AvgPool2d(2)}.get(type(layer), layer)
            y = F.conv2d(y, layer.weight.double(), padding=layer.padding) if isinstance(layer, nn.Conv2d) else layer(y)
        i = y.shape[2] // 2
        y[0, :, i, i].abs().sum().backward()
        seen = x.grad.abs().sum((0, 1)).sum(1).nonzero().flatten()
        assert (int(seen[0]), len(seen)) == (start + step * i, field)


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_occlusion_place_by_place(nb, seed, size, stride, label):
    net, x = small_net(seed), draw(seed, 1, 2, 3, 4)
    got = nb["Occluder"](net).occlusion_map(x, label, size, stride, 0.25)
    assert got.shape == ((3 - size) // stride + 1, (4 - size) // stride + 1)
    i, j = got.shape[0] - 1, got.shape[1] - 1
    covered = x.clone()
    covered[:, :, i * stride:i * stride + size, j * stride:j * stride + size] = 0.25
    expected = (net(x).softmax(1) - net(covered).softmax(1))[0, label]
    torch.testing.assert_close(got[i, j], expected.detach())


@few
@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_saliency_by_differences(nb, seed, labels):
    net, x = small_net(seed), draw(seed, len(labels), 2, 3, 4)
    got, h = nb["Tracer"](net).saliency(x, torch.tensor(labels)), 1e-6
    slopes = []
    for c in range(2):
        moved = x.clone()
        moved[-1, c, 1, 2] += h
        slopes.append(abs(((net(moved) - net(x))[-1, labels[-1]] / h).item()))
    assert float(got[-1, 1, 2]) == pytest.approx(max(slopes), rel=1e-4)


@few
@given(seeds, st.integers(0, 3), st.sampled_from([0.1, 1.0]), st.sampled_from([0.0, 0.5]))
def test_a_step_uphill(nb, seed, unit, lr, decay):
    net, x = small_net(seed), draw(seed, 1, 2, 3, 4)
    step = nb["Climber"](net).ascend(x, unit, lr, decay) - (1 - decay) * x
    assert float(step.norm()) == pytest.approx(lr)
    small = nb["Climber"](net).ascend(x, unit, 1e-4, 0.0)
    assert net(small)[0, unit].item() > net(x)[0, unit].item()


def test_rules_of_the_relu(nb):
    x, dy = draw(1, 50), draw(2, 50)
    leaf = x.clone().requires_grad_()
    (F.relu(leaf) * dy).sum().backward()
    torch.testing.assert_close(nb["relu_backward"](x, dy, "gradient"), leaf.grad)
    torch.testing.assert_close(nb["relu_backward"](x, dy, "deconvnet"), F.relu(dy))
    torch.testing.assert_close(nb["relu_backward"](x, dy, "guided"), F.relu(leaf.grad))


def test_sent_back_by_the_gradient_is_the_gradient(nb):
    image = nb["views"][0]
    at, (rows, columns) = nb["strongest"](image)
    leaf = image.clone().requires_grad_()
    nb["colour"][:10](leaf)[(0, *at)].backward()
    got = nb["sent_back"](nb["colour"], image, "gradient", at)
    torch.testing.assert_close(got, leaf.grad[0])
    outside = got.clone()
    outside[:, rows, columns] = 0
    assert not outside.any() and got.any()


# ------------------------------------------------------------------ what the pictures show

def test_a_network_that_reads_the_dot_is_the_better_one_on_its_own_images(nb):
    a, b = nb["scene_accuracy"]["A"], nb["scene_accuracy"]["B"]
    assert b["as in training"] > a["as in training"] > 0.95 and b["as in training"] > 0.99
    assert b["dot anywhere"] < 0.2 and b["no dot"] == pytest.approx(0.6, abs=0.04)
    assert min(a.values()) > 0.95


def test_covering_finds_the_dot(nb):
    occluder = {name: nb["Occluder"](net) for name, net in nb["scene_nets"].items()}
    found = {"A": 0, "B": 0}
    for i in range(0, 40):
        label = int(nb["labels"][nb["unseen"][i]])
        scene = nb["normalise"](nb["scenes"](nb["images"][nb["unseen"][[i]]], [label]))
        for name in found:
            drop = occluder[name].occlusion_map(scene, label, 5, 3, nb["BACKGROUND"])
            r, c = divmod(int(drop.argmax()), drop.shape[1])
            found[name] += r * 3 + 4 >= 28 and abs(3 * c + 2 - (3 * label + 2)) <= 4
    assert found["B"] >= 38 and found["A"] <= 6


def test_saliency_of_b_is_mostly_outside_the_dot(nb):
    assert nb["dots"]["A"] == pytest.approx(0.05, abs=0.02) and nb["dots"]["B"] == pytest.approx(0.37, abs=0.04)
    assert nb["dots"]["never trained"] == pytest.approx(0.13, abs=0.01)


def test_images_made_uphill_are_certain(nb):
    table = results.load("mnist_lenet")
    assert sum(table[f"answer_{k}"][k] for k in range(10)) == 9940
    assert nb["belief"][-1, 3] > 0.99 and nb["belief"][0].argmax() == 1 and nb["belief"][0].max() < 0.6
    assert all(p.min() > 0.99 for p in nb["certain"].values())


def test_guided_pictures_survive_a_broken_network(nb):
    alike = nb["likeness"]
    assert alike["guided"] == pytest.approx(0.83, abs=0.01) and alike["gradient"] == pytest.approx(0.42, abs=0.01)
    assert alike["gradient"] < alike["deconvnet"] < alike["guided"]


# ------------------------------------------------------------------ comparing

@few
@given(seeds, st.integers(3, 8), st.integers(1, 5), st.integers(1, 5))
def test_cka_by_gram_matrices(nb, seed, n, p, q):
    x, y = draw(seed, n, p), draw(seed + 1, n, q)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    k, g = h @ x @ x.T @ h, h @ y @ y.T @ h
    assert float(nb["linear_cka"](x, y)) == pytest.approx(float((k * g).sum() / (k.norm() * g.norm())))


def test_what_cka_does_not_see(nb):
    alike = nb["alike"]
    assert all(alike[name] == pytest.approx(1) for name in ("other order", "3 x + 5", "turned"))
    assert alike["one column times 100"] == pytest.approx(0.32, abs=0.005) and alike["other numbers"] < 0.06
    assert alike["other numbers, 10 images"] == pytest.approx(0.56, abs=0.005)


def test_layers_of_two_seeds_are_alike_and_of_an_untrained_network_near_the_image(nb):
    seed, untrained = nb["cka"]["seed"], nb["cka"]["untrained"]
    assert (seed.argmax(1) == np.arange(7)).all()
    diagonal = seed.diagonal()[1:]
    assert diagonal.min() == pytest.approx(0.87, abs=0.005) and diagonal.max() == pytest.approx(0.98, abs=0.005)
    assert np.abs(nb["by_ranks"][1:] - diagonal).max() < 0.04
    assert untrained[0, 1:5].min() >= 0.69 and untrained[1, 1] == pytest.approx(0.73, abs=0.005)
    assert untrained[4, 4] == pytest.approx(0.25, abs=0.005) and untrained[6, 6] == pytest.approx(0.08, abs=0.005)


@few
@given(seeds, st.integers(2, 5), st.integers(2, 4), sizes)
def test_dissimilarities_are_one_minus_numpys_correlations(nb, seed, n, c, w):
    features = draw(seed, n, c, 2, w)
    np.testing.assert_allclose(nb["rdm"](features).numpy(), 1 - np.corrcoef(features.reshape(n, -1).numpy()),
                               atol=1e-12)


@few
@given(seeds, st.integers(3, 7))
def test_agreement_is_scipys_rank_correlation(nb, seed, n):
    first, second = (v + v.T for v in (draw(seed, n, n), draw(seed + 1, n, n)))
    upper = np.triu_indices(n, 1)
    assert float(nb["rdm_agreement"](first, second)) == pytest.approx(spearmanr(first[upper], second[upper]).statistic)


def test_the_student_comes_closer_with_depth_and_the_novice_moves_away(nb):
    student, novice = (list(nb["agreement"][name].values()) for name in ("student", "never trained"))
    assert student[-1] > student[0] + 0.03 and novice == sorted(novice, reverse=True)
    assert [student[0], student[-1]] == pytest.approx([0.42, 0.48], abs=0.02)
    assert [novice[0], novice[-1]] == pytest.approx([0.43, 0.10], abs=0.02)
    assert nb["pixel_agreement"] == pytest.approx(0.43, abs=0.005)
    assert nb["again"] == pytest.approx(0.65, abs=0.005) and nb["ceiling"] == pytest.approx(0.80, abs=0.005)
    assert nb["reads"]["student"] > 0.95 and nb["reads"]["monkey"] > 0.9
    within = nb["within_class"]
    assert 1 / within["student, F6"] == pytest.approx(5, abs=1) and 1 / within["pixels"] == pytest.approx(2, abs=0.1)
    assert within["pixels"] < within["never trained, F6"] and within["pixels"] < within["recorded"]


# ------------------------------------------------------------------ misleading

@few
@given(seeds, st.sampled_from([0.01, 0.1]))
def test_the_attack_raises_the_loss_and_stays_within_epsilon(nb, seed, epsilon):
    net, x = small_net(seed), draw(seed, 3, 2, 3, 4).sigmoid()
    labels = torch.tensor([0, 3, 1])
    hit = nb["Attacker"](net).attack(x, labels, epsilon)
    assert float((hit - x).abs().max()) <= epsilon + 1e-12 and hit.min() >= 0 and hit.max() <= 1
    near = nb["Attacker"](net).attack(x, labels, 1e-5)
    assert F.cross_entropy(net(near), labels) > F.cross_entropy(net(x), labels)


def test_the_worst_is_far_from_the_average(nb):
    still, at = nb["still"], nb["epsilons"]
    assert all(values[0] == 1 for values in still.values()) and len(nb["victims"]) == 500
    half = {name: at[next(i for i, v in enumerate(still[name]) if v <= 0.53)] for name in ("gradient's signs",
                                                                                          "random signs")}
    assert half == {"gradient's signs": 0.05, "random signs": 0.2}
    assert still["gradient's signs"][-1] > min(still["gradient's signs"]) and at[4] == 0.15
    assert still["random shift"][2] == pytest.approx(0.93, abs=0.005) and (2 * 2 + 1) ** 2 == 25
    assert still["worst shift"][2] == pytest.approx(0.56, abs=0.005)
    assert [still[name][3] for name in ("random signs", "gradient's signs")] == pytest.approx([0.95, 0.06], abs=0.006)


def test_weights_of_torchvisions_alexnet_fit_if_they_are_given(nb, tmp_path, capsys):
    from solutions.gpu.models import create
    from solutions.gpu.models.convert import torchvision_keys

    with torch.device("meta"):
        published = create("alexnet_torchvision")
        shapes = {name: v.shape for name, v in nb["AlexNet"]().state_dict().items()}
    assert shapes == {theirs: published.state_dict()[ours].shape for ours, theirs in torchvision_keys(published).items()}
    torch.save({name: torch.full((1,), 0.01).expand(shape) for name, shape in shapes.items()}, tmp_path / "alexnet.pth")
    nb["look_into"](tmp_path / "alexnet.pth")
    assert "classes and probabilities" in capsys.readouterr().out
