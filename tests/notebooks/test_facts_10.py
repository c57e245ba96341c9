"""Notebook 10: every number in its prose, its functions against torch, and what its small experiments must show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.modules import layers, set_weights

SLUG = "10_alexnet"
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


# ------------------------------------------------------------------ the challenge and its errors

def test_the_winners_and_the_largest_fall(nb):
    assert nb["errors"] == [28.2, 25.8, 16.4, 11.7, 7.3, 6.7, 3.57] and nb["person"] == 5.1
    fall, year = nb["largest_fall"]
    assert year == "2012" and fall == pytest.approx(9.4)
    assert [error for error in nb["errors"] if error < nb["person"]] == [3.57]


def test_five_guesses_of_1000_are_wrong_in_995_of_1000(nb):
    assert nb["guessing"] == pytest.approx(0.995)
    logits = torch.rand(4000, 1000, generator=torch.Generator().manual_seed(0))
    assert nb["top_k_error"](logits, torch.zeros(4000, dtype=torch.int64), 5) == pytest.approx(0.995, abs=0.004)


def test_equal_scores_are_always_wrong_unless_all_classes_are_allowed(nb):
    equal, labels = torch.zeros(8, 10), torch.arange(8)
    assert [nb["top_k_error"](equal, labels, k) for k in (1, 5, 9, 10)] == [1, 1, 1, 0]


@few
@given(seeds, st.integers(1, 6), st.integers(2, 7))
def test_top_k_error_is_topks_where_nothing_is_equal(nb, seed, k, classes):
    k = min(k, classes)
    logits = draw(seed, 16, classes).float()
    labels = torch.randint(classes, (16,), generator=torch.Generator().manual_seed(seed))
    right = (logits.topk(k, dim=1).indices == labels[:, None]).any(dim=1)
    assert nb["top_k_error"](logits, labels, k) == pytest.approx(1 - right.double().mean().item())


# ------------------------------------------------------------------ the table

def torch_alexnet(groups):
    """AlexNet written out, on the meta device."""
    with torch.device("meta"):
        return nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), nn.MaxPool2d(3, 2), nn.Conv2d(96, 256, 5, 1, 2, groups=groups), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, 1, 1), nn.Conv2d(384, 384, 3, 1, 1, groups=groups),
            nn.Conv2d(384, 256, 3, 1, 1, groups=groups), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096),
            nn.Linear(4096, 4096), nn.Linear(4096, 1000))


def test_sizes_of_alexnet(nb):
    table = dict(zip(nb["LAYER_NAMES"], nb["one_tower"]))
    shapes = {name: shape for name, (shape, _, _) in table.items()}
    assert shapes["CONV1"] == (96, 55, 55) and shapes["POOL1"] == shapes["NORM1"][:1] + (27, 27)
    assert shapes["CONV2"] == (256, 27, 27) and shapes["POOL2"] == (256, 13, 13)
    assert shapes["CONV3"] == shapes["CONV4"] == (384, 13, 13) and shapes["CONV5"] == (256, 13, 13)
    assert shapes["POOL3"] == (256, 6, 6) and shapes["flatten"] == (9216,) and shapes["FC8"] == (1000,)
    assert all(shapes[name] == shape for name, shape in nb["volumes"].items() if name != "image")


def test_parameters_of_alexnet(nb):
    counts = {name: count for name, (_, count, _) in zip(nb["LAYER_NAMES"], nb["one_tower"])}
    assert counts["CONV1"] == 34_944 == 96 * (11 * 11 * 3 + 1) and counts["POOL1"] == counts["NORM1"] == 0
    assert counts["FC6"] == 37_752_832 > nb["total"] / 2 and nb["total"] == 62_378_344
    assert nb["in_convolutions"] == 3_747_200
    for groups, total in [(1, 62_378_344), (2, 60_965_224)]:
        assert sum(p.numel() for p in torch_alexnet(groups).parameters()) == total
        assert sum(n for _, n, _ in nb["layer_table"]((3, 227, 227), nb["alexnet_layers"](groups))) == total
        assert nb["towers"][groups].parameters == total


def test_224_pixels_do_not_fit(nb):
    assert (224 - 11) / 4 + 1 == 54.25 and (227 - 11) / 4 + 1 == 55
    sizes = {name: shape for name, (shape, _, _) in zip(nb["LAYER_NAMES"], nb["from_224"])}
    assert sizes["CONV1"] == (96, 54, 54) and sizes["flatten"] == (6400,)
    assert [(n - k) % s for n, k, s in [(227, 11, 4), (55, 3, 2), (27, 3, 2), (13, 3, 2)]] == [0] * 4
    assert nb["remainders"] == {55: (1, 0), 27: (1, 0), 13: (1, 0)}


def test_receptive_fields(nb):
    assert nb["fields"] == {"CONV1": 11, "POOL1": 19, "CONV2": 51, "POOL2": 67, "CONV3": 99, "CONV4": 131, "CONV5": 163,
                            "POOL3": 195}
    line = torch.ones(1, 1, 400, dtype=torch.float64, requires_grad=True)
    y = line
    for k, s in [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]:
        y = F.conv1d(y, torch.full((1, 1, k), 1 / k, dtype=torch.float64), stride=s)
    y[0, 0, 0].backward()
    assert int(line.grad.nonzero().max()) + 1 == 195


@few
@given(st.lists(st.tuples(*(st.integers(low, high) for low, high in [(1, 3), (1, 4), (1, 3), (0, 2), (1, 2)])),
                min_size=1, max_size=3), st.integers(1, 2), st.integers(30, 40), st.integers(30, 40))
def test_the_table_is_what_torch_makes(nb, convs, pool, height, width):
    modules, given, c = [], [], 2
    for half, k, s, p, groups in convs:
        modules.append(nn.Conv2d(c, 2 * half, k, s, p, groups=groups, device="meta"))
        given.append(("conv", 2 * half, k, s, p, groups))
        c = 2 * half
    modules.append(nn.MaxPool2d(2, pool))
    given.append(("pool", None, 2, pool, 0, None))
    x = torch.empty(1, 2, height, width, device="meta")
    for module, row in zip(modules, nb["layer_table"]((2, height, width), tuple(given))):
        if min(x.shape[2:]) < 6:
            return
        x = module(x)
        assert row[:2] == (tuple(x.shape[1:]), sum(p.numel() for p in module.parameters()))


# ------------------------------------------------------------------ local response normalisation

@few
@given(seeds, st.sampled_from([1, 3, 5, 7]), st.integers(1, 8))
def test_lrn_is_torchs_with_alpha_times_n(nb, seed, n, channels):
    x = 20 * draw(seed, 2, channels, 2, 3)
    expected = F.local_response_norm(x, n, alpha=n * 1e-2, beta=0.6, k=1.5)
    torch.testing.assert_close(nb["ResponseNorm"](n, 1e-2, 0.6, 1.5)(x), expected)


def test_the_papers_alpha_is_5e_4_in_torch(nb):
    x = 100 * draw(1, 1, 9, 2, 2)
    torch.testing.assert_close(nb["ResponseNorm"]()(x), nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(x))


def test_what_lrn_keeps_of_a_pattern(nb):
    alone, beside, strong = nb["kept"][1.0]
    assert round(alone, 2) == 0.94 and round(beside, 2) == round(strong, 2) == 0.71
    assert all(share > 0.999 for share in nb["kept"][0.01])
    assert round(2 ** 0.75, 2) == 1.68


# ------------------------------------------------------------------ the networks

def test_the_features_give_9216_numbers_and_both_parts_fit(nb):
    for groups in (1, 2):
        assert nb["alexnet"](groups)(torch.empty(2, 3, 227, 227, device="meta")).shape == (2, 1000)
    with torch.device("meta"):
        used = layers(nb["AlexNetFeatures"](groups=2), (1, 3, 227, 227))
    assert used == ("Conv2d (96, 3, 11, 11) + bias -> (1, 96, 55, 55)",
                    "Conv2d (256, 48, 5, 5) + bias -> (1, 256, 27, 27)",
                    "Conv2d (384, 256, 3, 3) + bias -> (1, 384, 13, 13)",
                    "Conv2d (384, 192, 3, 3) + bias -> (1, 384, 13, 13)",
                    "Conv2d (256, 192, 3, 3) + bias -> (1, 256, 13, 13)")


def test_two_towers_are_one_with_zeros(nb):
    assert nb["difference"] < 1e-6 and nb["zeros"] == 4800 and nb["weights"] == 14_232


def test_from_conv3_on_every_map_depends_on_both_towers(nb):
    assert {name: cells.mean() for name, cells in nb["pictures"].items()} == {
        "CONV1": 0.125, "CONV2": 0.5, "CONV3": 1, "CONV4": 1, "CONV5": 1}


def test_the_towers_do_not_see_each_other_before_conv3():
    conv1, conv2, conv3 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 8, 3)
    maps = conv1(torch.rand(1, 1, 9, 9)).detach().requires_grad_()
    of_conv2, = torch.autograd.grad(conv2(maps)[:, :3].sum(), maps)
    of_conv3, = torch.autograd.grad(conv3(conv2(maps))[:, :4].sum(), maps)
    assert not of_conv2[:, 2:].any() and of_conv2[:, :2].any() and of_conv3[:, 2:].any()


def test_flattening_goes_channel_by_channel(nb):
    net = nb["AlexNetClassifier"](c_in=3, side=2, hidden=5, classes=4).eval()
    set_weights(net, 3)
    x = draw(3, 2, 3, 2, 2)
    first, second, third = (m for m in net.modules() if isinstance(m, nn.Linear))
    rows = torch.stack([torch.cat([x[n, c, r] for c in range(3) for r in range(2)]) for n in range(2)])
    torch.testing.assert_close(net(x), third(second(first(rows).relu()).relu()))
    assert not torch.allclose(net(x), third(second(first(x.permute(0, 2, 3, 1).flatten(1)).relu()).relu()))


def test_with_everything_dropped_the_last_bias_comes_out(nb):
    net = nb["AlexNetClassifier"](c_in=2, side=2, hidden=5, classes=4, p=1)
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    torch.testing.assert_close(net.train()(torch.rand(3, 2, 2, 2)), last.bias.expand(3, 4))


def test_where_parameters_and_arithmetic_are(nb):
    (parameters_1, products_1), (parameters_2, products_2) = nb["shares"][1], nb["shares"][2]
    assert [round(100 * v) for v in (parameters_1, products_1, parameters_2, products_2)] == [6, 95, 4, 92]
    assert [nb["towers"][g].multiply_adds for g in (1, 2)] == [1_135_256_096, 724_406_816]
    assert 1 - 724_406_816 / 1_135_256_096 > 1 / 3 and 62_378_344 - 60_965_224 == pytest.approx(1.4e6, rel=0.01)
    assert nb["by_layer"](nb["towers"][1], "multiply_adds")[0] == 55 * 55 * 96 * 363
    assert round(62_378_344 * 4 / 1e6) == 250 and round(nb["fc6_bytes"] / 1e6) == 151


def test_memory_of_training_on_a_batch_of_128(nb):
    assert round(nb["for_weights"] / 1e9, 2) == 0.73 and round(nb["kept_bytes"] / 1e9, 2) == 1.60
    assert round((nb["for_weights"] + nb["kept_bytes"]) / 1e9, 2) == 2.33
    rows = nb["batch"].rows
    norm = sum(row.backward_bytes for row in rows if row.kind.startswith("LRN"))
    assert norm == pytest.approx(1e9, rel=0.05)
    early = [row.kind for row in rows].index("conv 3×3, pad 1")
    assert sum(row.backward_bytes for row in rows[:early]) > 0.9 * nb["kept_bytes"]


def test_zfnet(nb):
    with torch.device("meta"):
        used = layers(nb["ZFNetFeatures"](), (1, 3, 224, 224))
        assert nb["ZFNetFeatures"]()(torch.empty(1, 3, 224, 224)).shape == (1, 512, 6, 6)
    assert [line.split("-> ")[1] for line in used] == [
        "(1, 96, 110, 110)", "(1, 256, 26, 26)", "(1, 512, 13, 13)", "(1, 1024, 13, 13)", "(1, 512, 13, 13)"]
    assert nb["zfnet"].parameters == 107_627_624
    assert round(nb["ratios"]["multiply_adds"], 2) == 2.18 and round(nb["ratios"]["parameters"], 2) == 1.73
    a, z = (nb["by_layer"](table, "multiply_adds") for table in (nb["towers"][1], nb["zfnet"]))
    assert 110 ** 2 == 4 * 55 ** 2 and z[0] > a[0] and sorted(np.argsort(z / a)[-2:]) == [3, 4]


# ------------------------------------------------------------------ training and averaging

@few
@given(st.lists(st.integers(0, 8), max_size=15), st.integers(1, 4))
def test_plateau_rates_are_torchs(nb, errors, patience):
    weight = torch.zeros(1, requires_grad=True)
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([weight], lr=0.5), factor=0.1, threshold=0,
                                                      patience=patience - 1, eps=0)
    expected = [0.5]
    for error in errors:
        rule.step(float(error))
        expected.append(rule.optimizer.param_groups[0]["lr"])
    assert nb["plateau_rates"](tuple(map(float, errors)), 0.5, patience) == pytest.approx(expected)


def test_a_smaller_rate_lowers_the_floor_in_proportion(nb):
    constant, cut = nb["last_ten"]
    assert constant == pytest.approx(0.1 * 4 / 2, rel=0.3)  # rate times the variance of the noise, over 2
    assert cut < constant / 20 and len(nb["cuts"]) >= 2
    first, second = nb["cuts"][:2]
    settled = np.mean(nb["cut"][second - 8:second])
    assert constant / 20 < settled < constant / 5 and first > 5
    early = nb["descend"](nb["by_plateaus"], seed=5)  # fooled by luck: cut every eight epochs, and not lower
    assert np.mean(early[-10:]) > 2 * cut
    rates = nb["plateau_rates"](early, lr=0.1, patience=8)
    assert sum(b < a for a, b in zip(rates, rates[1:])) > len(nb["cuts"])


def test_ten_crops(nb):
    views, stored = nb["views"], nb["stored"]
    assert views.shape == (10, 3, 224, 224) and 256 - 224 == 32 and 32 * 32 * 2 == 2048
    assert torch.equal(views[3], stored[:, 32:, 32:]) and torch.equal(views[4], stored[:, 16:240, 16:240])
    assert torch.equal(views[9], views[4].flip(2))


def test_one_loud_network_outvotes_two_in_logits_only(nb):
    assert nb["of_probabilities"].argmax() == 0 and nb["of_logits"].argmax() == 1
    assert round(float(nb["opinions"][0].softmax(0)[0]), 2) == 0.88


@few
@given(seeds, st.integers(1, 5), st.integers(1, 4), st.integers(2, 6))
def test_average_probabilities(nb, seed, m, n, k):
    logits = 30 * draw(seed, m, n, k).float()
    p = nb["average_probabilities"](logits)
    expected = sum(torch.exp(F.log_softmax(one.double(), 1)) for one in logits) / m
    torch.testing.assert_close(p, expected.float())
    torch.testing.assert_close(p.sum(1), torch.ones(n))


def test_seven_networks_make_about_half_the_errors_of_one(nb):
    assert len(nb["single"]) == len(nb["together"]) == 7 and len(nb["truth"]) == 1697
    assert 14 < np.mean(nb["single"]) < 24
    assert nb["together"][-1] < min(nb["single"]) and 0.35 < nb["together"][-1] / np.mean(nb["single"]) < 0.65
    one, _, _, four, *_, seven = nb["together"]
    assert one - four > 2 * (four - seven)  # the first few help most
    of_logits = 100 * nb["top_k_error"](nb["answers"].mean(dim=0), nb["truth"], 1)
    assert abs(of_logits - nb["together"][-1]) < 2


def test_the_top_k_error_falls_with_k_and_a_guess_of_ten_has_50_per_cent(nb):
    falls = [nb["top_k_error"](nb["answers"][0], nb["truth"], k) for k in range(1, 6)]
    assert all(np.diff(falls) < 0) and falls[4] < falls[0] / 5
    assert 1 - 5 / 10 == 0.5 and math.log10(1.2e6 / 100) > 4
