"""Notebook 13: every number in its prose, its modules and functions against torch, and what its runs must show."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab import modules, report, results
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import load

SLUG = "13_resnet"
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape))


def count(module):
    return sum(p.numel() for p in module.parameters())


# ------------------------------------------------------------------ degradation, and the way out

def test_deeper_plain_networks_are_worse_on_their_training_images_too(nb):
    for part in ("train", "test"):
        errors = nb["plain_errors"][part]
        assert errors[8] + 3 < errors[20] < errors[56] - 15
    assert nb["plain_errors"]["train"][56] > 60 and 30 < nb["plain_errors"]["train"][8] < 37
    assert 12 * np.ceil(20_000 / 128) == pytest.approx(1900, abs=30) and 64_000 / 1900 > 30


def test_the_construction_is_exact_behind_a_relu_only(nb):
    assert nb["largest"] == 0 and nb["spoilt_by"] > 0.1
    assert nb["negative"] == pytest.approx(0.8, abs=0.03)


@few
@given(seeds, st.integers(1, 5), st.sampled_from([1, 3, 5, 7]))
def test_identity_conv_copies_and_can_be_trained(nb, seed, channels, k):
    layer, x = nb["identity_conv"](channels, k).double(), draw(seed, 2, channels, 4, 5)
    assert torch.equal(layer(x), x) and all(p.requires_grad for p in layer.parameters())
    assert count(layer) == channels * (channels * k * k + 1)


@few
@given(seeds, st.integers(1, 4), st.integers(0, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_the_shortcut_is_a_fixed_1x1_convolution(nb, seed, c, extra, stride, h, w):
    x = draw(seed, 2, c, h, w)
    fixed = torch.eye(c + extra, c, dtype=torch.float64)[..., None, None]
    torch.testing.assert_close(nb["zero_shortcut"](x, c + extra, stride), F.conv2d(x, fixed, stride=stride))


def test_a_block_of_zeros_is_the_identity_with_a_skip_only(nb):
    image = (nb["picture"] + 0.5)[0, 0].numpy()
    np.testing.assert_array_equal(nb["outputs"]["residual"], image)
    assert not nb["outputs"]["plain"].any() and image.min() >= 0


@few
@given(seeds, st.integers(1, 3), st.integers(0, 3), st.integers(1, 2), st.booleans())
def test_the_basic_block_by_formula(nb, seed, c_in, extra, stride, residual):
    block, x = nb["BasicBlock"](c_in, c_in + extra, stride, residual), draw(seed, 2, c_in, 5, 4)
    modules.set_weights(block, seed)
    a, b = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    norm1, norm2 = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    y = norm2(F.conv2d(norm1(F.conv2d(x, a.weight, None, stride, 1)).relu(), b.weight, None, 1, 1))
    y = y + nb["zero_shortcut"](x, c_in + extra, stride) if residual else y
    torch.testing.assert_close(block(x), y.relu())


# ------------------------------------------------------------------ 6n + 2

def test_plain_and_residual_networks_have_the_papers_parameters(nb):
    assert {depth: round(p / 1e6, 2) for depth, (p, _) in nb["sizes"].items()} == {
        20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.73}
    assert all(plain == residual for plain, residual in nb["sizes"].values())


@pytest.mark.parametrize("n", [1, 3])
def test_layers_with_weights_are_6n_plus_2(nb, n):
    net = nb["CifarNet"](n, width=2)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == 6 * n + 2
    assert net(torch.zeros(2, 3, 4, 5)).shape == (2, 10)


def test_skips_mend_most_of_it(nb):
    plain, residual = nb["plain_errors"]["train"], nb["residual_errors"]["train"]
    assert residual[20] < plain[20] - 10 and residual[56] == pytest.approx(plain[56] / 2, rel=0.2)
    assert residual[56] > residual[20] and plain[8] <= residual[8] < plain[8] + 4


def test_the_live_run_shows_it_too(nb):
    losses = {name: np.mean(history.loss[-20:]) for name, history in nb["runs"].items()}
    assert losses["plain, 20 layers"] < 0.6 and losses["residual, 44 layers"] < 0.3
    assert (losses["plain, 20 layers"] + np.log(10)) / 2 < losses["plain, 44 layers"] < np.log(10)
    assert all(len(history.loss) == 4 * 23 for history in nb["runs"].values())


# ------------------------------------------------------------------ gradients

@few
@given(st.lists(st.sampled_from([-1.5, -0.5, 0.25, 0.75, 2.0]), min_size=1, max_size=6))
def test_chain_gradients_are_autograds(nb, slopes):
    slopes = torch.tensor(slopes)
    for got, skip in zip(nb["chain_gradients"](slopes), (0, 1)):
        inputs = [torch.tensor(0.7, requires_grad=True)]
        for a in slopes:
            inputs.append(skip * inputs[-1] + a * inputs[-1])
        torch.testing.assert_close(got, torch.stack(torch.autograd.grad(inputs[-1], inputs[:-1])))


def test_fifty_layers(nb):
    first = {a: [float(g[0]) for g in gradients] for a, gradients in nb["reach"].items()}
    assert first[0.5][0] < 1e-14 and first[0.5][1] > 1e8
    assert first[0.1] == [0, pytest.approx(117.4, abs=0.1)] and first[-0.1] == [0, pytest.approx(0.005, abs=3e-4)]
    assert 0.1**16 == pytest.approx(1e-16) and 0.1**50 < np.finfo(np.float32).smallest_subnormal


def test_paths(nb):
    assert nb["paths"].sum() == 2**54 and 110 == 2 * 54 + 2
    assert nb["average"] == [pytest.approx(27), pytest.approx(54 * 0.1 / 1.1)]
    assert nb["weighted"].sum() == pytest.approx(1.1**54) and nb["paths"][2] == comb(54, 2)
    assert (1 + 2) * (1 + 3) == 1 + 2 + 3 + 2 * 3


def test_gradients_vanish_without_batch_norm_and_grow_with_it(nb):
    plain, residual = nb["norms"]["without batch norm", False], nb["norms"]["without batch norm", True]
    assert len(plain) == 55 and 3e-6 < plain.min() and plain.max() < 1e-4 and residual.min() > 900
    plain, residual = nb["norms"]["with batch norm", False], nb["norms"]["with batch norm", True]
    assert plain[:3].min() > 100 and plain[-1] == pytest.approx(0.3, abs=0.05)
    assert 0.4 < residual.min() and residual.max() < 2.15


def test_the_measured_gradients_turn_round_within_an_epoch():
    table = results.load("gradient_norms")
    deep = table["depth"] == 56
    plain, residual = (table[f"{kind}_batch_norm"][deep][:55] for kind in ("plain", "residual"))
    assert plain[0] > 100 * plain[-1] and residual.max() < 7 * residual.min()
    assert table["plain"][deep].max() < 0.01 and table["residual"][deep].min() > 800
    plain, residual = (table[f"{kind}_batch_norm_trained"][deep][:55] for kind in ("plain", "residual"))
    assert 1.7 < (residual / plain)[:27].min() and (residual / plain)[:27].max() < 9
    assert np.median(plain[:10]) < np.median(plain[-10:]) / 3


def test_behind_batch_norm_larger_weights_have_smaller_gradients(nb):
    net = nb["he_start"](nb["CifarNet"](1, width=4))
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    once = nb["gradient_norms"](net, nb["images"][:32], nb["labels"][:32])
    with torch.no_grad():
        conv.weight *= 5
    again = nb["gradient_norms"](net, nb["images"][:32], nb["labels"][:32])
    np.testing.assert_allclose(once / again, [5, *[1] * 6], rtol=1e-3)


def test_large_gradients_blow_the_early_plain_weights_up(nb):
    plain, residual = nb["grown"][False], nb["grown"][True]
    assert plain.max() == pytest.approx(40, rel=0.3) and plain[:10].min() > 5 and plain[-10:].max() < 1.1
    assert residual.max() < 1.135
    assert np.median(nb["later"][False]) < np.median(nb["later"][True]) / 2


# ------------------------------------------------------------------ pre-activation

@few
@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_pre_activation_is_that_of_modules(nb, seed, c, m):
    first, second = nn.Conv2d(c, m, 3, padding=1, bias=False), nn.Conv2d(m, c, 3, padding=1, bias=False)
    x = draw(seed, 2, c, 4, 3).float()
    with torch.no_grad():
        expected = x + nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)(x)
        torch.testing.assert_close(nb["pre_activation"](x, first.weight, second.weight), expected)


def test_a_relu_in_place_spoils_the_skip_without_a_message(nb):
    assert nb["right"].flatten().tolist() == [-1, -2, -3] and nb["spoilt"].flatten().tolist() == [-1, 0, -3]
    assert nb["overwritten"].flatten().tolist() == [1, 0, 3]


def test_the_check_says_that_a_relu_in_place_changed_x():
    def pre_activation(x, weight1, weight2):
        y = F.conv2d(F.relu(x, inplace=True), weight1, padding=1)
        return x + F.conv2d(F.relu(y), weight2, padding=1)

    verdict = judge(load("pre_activation"), Local(pre_activation))
    assert verdict.score == 0 and "`x` is not what it was before the call" in report.text(verdict)


def test_a_sum_in_place_is_told_by_both_blocks(nb):
    class Block(nb["BasicBlock"]):
        def forward(self, x):
            if not self.residual or x.shape[1] != self.c_out or self.stride > 1:
                return super().forward(x)
            x += self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(x)

    verdict = judge(load("basic_block"), Local(Block))
    assert verdict.parts == {"plain": True, "residual": False}
    assert "`x` is not what it was before the call" in report.text(verdict)


# ------------------------------------------------------------------ bottlenecks and ImageNet

def test_a_bottleneck_saves_seventeen_times(nb):
    assert sum(nb["bottleneck_weights"].values()) == 69_632 and nb["basic_weights"] == 1_179_648
    assert nb["saved"] == pytest.approx(16.9, abs=0.05) and 2 * 64 * 64 * 9 == 73_728 and 256 * 256 == 65_536
    body = [p for p in nb["Bottleneck"](256, 64).parameters() if p.ndim == 4]
    assert sum(p.numel() for p in body) == 69_632


def test_what_a_strided_1x1_and_a_strided_3x3_read(nb):
    one, three = nb["reads"][1], nb["reads"][3]
    assert (one > 0).mean() == 0.25 and (three > 0).all() and sorted(set(three.flat)) == [1, 2, 4]


@few
@given(st.tuples(*[st.integers(1, 4)] * 4), st.sampled_from([1, 10, 1000]))
def test_stage_parameters_are_those_of_the_bottlenecks(nb, counts, classes):
    with torch.device("meta"):
        c_in, parts = 64, []
        for stage, number in enumerate(counts):
            blocks = []
            for i in range(number):
                blocks.append(nb["Bottleneck"](c_in, 64 * 2**stage, 2 if stage and i == 0 else 1))
                c_in = 256 * 2**stage
            parts.append(sum(map(count, blocks)))
    assert nb["stage_parameters"](counts, True, classes) == (9536, *parts, 2049 * classes)


def test_the_published_parameters(nb):
    assert nb["totals"] == {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
    assert 2 * nb["totals"][152] < 138_357_544 and 152 / 16 > 9
    for depth, (counts, deep) in nb["RESNETS"].items():
        assert 2 + (3 if deep else 2) * sum(counts) == depth


def test_resnet_50_where_the_work_is(nb):
    assert nb["report"].parameters == 25_557_032 and nb["report"].multiply_adds == 4_089_184_256
    stages = sum(nb["work"].values())
    assert stages.argmax() == 3 and stages[1:5].min() > 0.15 * stages.sum()
    assert nb["learned"][4] / 25_557_032 == pytest.approx(0.59, abs=0.005) and nb["learned"].sum() == 25_557_032
    assert nb["share"]["1×1"] == pytest.approx(0.52, abs=0.005) and nb["share"]["3×3"] == pytest.approx(0.45, abs=0.005)
    assert {17 * (64 * 2**s) ** 2 * (56 // 2**s) ** 2 for s in range(4)} == {218_365_952}
    by_part = {}
    for row in nb["report"].rows[1:]:
        by_part[row.name.split(".")[0]] = by_part.get(row.name.split(".")[0], 0) + row.multiply_adds
    same = [by_part[str(4 + i)] for i, (c_in, width, stride) in enumerate(nb["ROWS"]) if (c_in, stride) == (4 * width, 1)]
    assert len(same) == 12 and set(same) == {218_365_952}


def test_the_papers_stride_saves_231_million(nb):
    assert nb["saving"] == 231_211_008 == 3 * (256 * 128 * 56 * 56 * 3 // 4)
    assert nb["by_paper"] == 3_857_973_248 and nb["saving"] / 4_089_184_256 == pytest.approx(0.06, abs=0.005)


# ------------------------------------------------------------------ DenseNet

@few
@given(st.integers(1, 50), st.integers(1, 40), st.integers(1, 8))
def test_dense_channels_are_those_of_cat(nb, c_in, growth, layers):
    x, widths = torch.zeros(1, c_in, 1, 1), [c_in]
    for _ in range(layers):
        x = torch.cat([x, torch.zeros(1, growth, 1, 1)], 1)
        widths.append(x.shape[1])
    assert nb["dense_channels"](c_in, growth, layers) == tuple(widths)


def test_the_first_block_of_densenet_121(nb):
    assert nb["first_block"] == (64, 96, 128, 160, 192, 224, 256) and nb["joined"].shape[1] == 256
    assert nb["dense_weights"] == 248_832 and nb["residual_weights"] == 221_184
