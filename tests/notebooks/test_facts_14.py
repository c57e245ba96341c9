"""Notebook 14: every number in its prose, its blocks against torch and published counts, what its runs must show."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab import modules, results
from solutions.gpu.experiments import digit_search, network_costs
from solutions.gpu.models.network import count_multiply_adds, count_parameters

SLUG = "14_after_resnet"
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10_000)


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def draw(seed, *shape):
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape))


def layers_of(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


# ------------------------------------------------------------------ wide, grouped, gated, dense

def test_wide_resnets_have_the_papers_parameters(nb):
    assert nb["wide_sizes"][28, 10] == 36_479_194 and round(nb["wide_sizes"][40, 4] / 1e6, 1) == 8.9
    assert nb["deeper"] == pytest.approx(2.1, abs=0.05) and nb["wider"] == pytest.approx(4, abs=0.05)
    assert nb["wide_blocks"](28, 10)[0] == (16, 160, 1) and len(nb["wide_blocks"](28, 10)) == 12
    for depth, k in [(10, 1), (16, 3), (22, 2)]:
        blocks = nb["wide_blocks"](depth, k)
        assert 1 + 2 * len(blocks) + sum(a != b for a, b, _ in blocks) <= depth == 6 * (len(blocks) // 3) + 4
        assert all(before[1] == after[0] for before, after in zip(blocks, blocks[1:]))


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_the_grouped_bottleneck_is_a_sum_of_paths(nb, seed, cardinality, d, more):
    channels = cardinality * d + more
    block, x = nb["GroupedBottleneck"](channels, cardinality, d), draw(seed, 2, channels, 4, 3)
    modules.set_weights(block, seed)
    block.eval()
    (a, b, c), (norm1, norm2, norm3) = layers_of(block, nn.Conv2d), layers_of(block, nn.BatchNorm2d)
    inner = F.relu(norm1(F.conv2d(x, a.weight)))
    paths = [F.conv2d(inner[:, g * d:(g + 1) * d], b.weight[g * d:(g + 1) * d], padding=1) for g in range(cardinality)]
    inner = F.relu(norm2(torch.cat(paths, 1)))
    summed = sum(F.conv2d(part, weight) for part, weight in zip(inner.split(d, 1), c.weight.split(d, 1)))
    torch.testing.assert_close(block(x), F.relu(x + norm3(summed)))


def test_paths_of_equal_cost(nb):
    assert nb["budget"][1, 64] == 69_632 and nb["budget"][32, 4] == 70_144
    assert max(nb["budget"].values()) < 1.03 * min(nb["budget"].values()) and 32 * 4 == 2 * 64


@few
@given(seeds, st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_gates_scale_each_channel_of_each_image(nb, seed, hidden, reduction, h, w):
    channels = hidden * reduction
    module, x = nb["SqueezeExcitation"](channels, reduction), draw(seed, 2, channels, h, w)
    modules.set_weights(module, seed)
    down, up = layers_of(module, nn.Linear)
    y = module(x)
    for n in range(2):
        z = F.relu(down.weight @ x[n].mean((1, 2)) + down.bias)
        gate = 1 / (1 + torch.exp(-(up.weight @ z + up.bias)))
        torch.testing.assert_close(y[n], x[n] * gate.reshape(-1, 1, 1))
        assert 0 < gate.min() and gate.max() < 1


def test_what_gates_cost_resnet_50(nb):
    assert 25_557_032 + nb["gate_parameters"] == 28_088_024 and nb["gate_products"] == 2_514_944
    assert nb["gate_parameters"] / 25_557_032 == pytest.approx(0.1, abs=0.003)
    assert nb["gate_products"] / 3_857_973_248 < 0.001


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_the_dense_block_keeps_its_input_and_grows(nb, seed, c_in, growth, layers):
    block, x = nb["DenseBlock"](c_in, growth, layers), draw(seed, 2, c_in, 3, 4)
    modules.set_weights(block, seed)
    block.eval()
    y, here = block(x), x
    assert torch.equal(y[:, :c_in], x) and y.shape[1] == c_in + layers * growth
    for norm, conv in zip(layers_of(block, nn.BatchNorm2d), layers_of(block, nn.Conv2d)):
        scaled = (here - norm.running_mean.view(-1, 1, 1)) / (norm.running_var.view(-1, 1, 1) + norm.eps).sqrt()
        scaled = scaled * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        here = torch.cat([here, F.conv2d(scaled.clamp(min=0), conv.weight, padding=1)], 1)
    torch.testing.assert_close(y, here)


def test_densenets_have_the_published_parameters(nb):
    assert nb["dense_sizes"] == {121: 7_978_856, 201: 20_013_928} and 3 * 7_978_856 < 25_557_032


# ------------------------------------------------------------------ depthwise

@few
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.integers(1, 9), st.integers(1, 9))
def test_separable_costs_are_torchs(nb, c_in, c_out, k, h, w):
    with torch.device("meta"):
        full = nn.Conv2d(c_in, c_out, k, padding=k // 2)
        pair = nn.Sequential(nn.Conv2d(c_in, c_in, k, padding=k // 2, groups=c_in), nn.Conv2d(c_in, c_out, 1))
    costs = nb["separable_costs"](c_in, c_out, k, h, w)
    assert costs == (count_multiply_adds(full, (c_in, h, w)), count_multiply_adds(pair, (c_in, h, w)))
    assert costs[1] / costs[0] == pytest.approx(1 / c_out + 1 / k**2)


def test_a_pair_is_at_most_k_squared_times_cheaper(nb):
    assert {k: round(float(s[-1]), 1) for k, s in nb["savings"].items()} == {3: 8.9, 5: 24.4, 7: 46.8}
    assert all((s < k * k).all() and (np.diff(s) > 0).all() for k, s in nb["savings"].items())


@few
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_a_separable_block_channel_by_channel(nb, seed, c_in, c_out, stride):
    block, x = nb["DepthwiseSeparable"](c_in, c_out, stride), draw(seed, 2, c_in, 5, 4)
    modules.set_weights(block, seed)
    (depthwise, pointwise), (norm1, norm2) = layers_of(block.eval(), nn.Conv2d), layers_of(block, nn.BatchNorm2d)
    each = [F.conv2d(x[:, c:c + 1], depthwise.weight[c:c + 1], stride=stride, padding=1) for c in range(c_in)]
    mixed = torch.einsum("oi,nihw->nohw", pointwise.weight[:, :, 0, 0], F.relu(norm1(torch.cat(each, 1))))
    torch.testing.assert_close(block(x), F.relu(norm2(mixed)))


def test_mobilenets_have_the_published_counts(nb):
    assert (nb["table"].parameters, nb["table"].multiply_adds) == (4_231_976, 568_740_352)
    assert nb["mobile_work"]["1×1"] / 568_740_352 == pytest.approx(0.95, abs=0.002)
    assert sum(nb["mobile_work"].values()) == 568_740_352
    assert 4_089_184_256 / 568_740_352 == pytest.approx(7.2, abs=0.05)
    assert 4866 / 569 == pytest.approx(9, abs=0.5) and 71.7 - 70.6 == pytest.approx(1.1)
    assert (nb["second"].parameters, nb["second"].multiply_adds) == (3_504_872, 300_774_272)
    assert 0.5 < 300_774_272 / 568_740_352 < 0.55


def test_depthwise_convolutions_wait_for_memory(nb):
    for times_fewer, times_faster, share_of_work, share_of_time in nb["measured"].values():
        assert times_faster < times_fewer and share_of_work < share_of_time
    assert nb["measured"][64][2] == pytest.approx(0.12, abs=0.005)
    assert nb["intensity"] == {"full": pytest.approx(332, abs=0.5), "depthwise": pytest.approx(4.5, abs=0.05)}


def test_bottlenecks_save_less_time_than_work(nb):
    assert len(nb["more_work"]) == 9 and (nb["more_time"] < nb["more_work"]).all()


# ------------------------------------------------------------------ inverted, scaled

@few
@given(seeds, st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), st.integers(1, 3))
def test_the_inverted_residual_by_formula(nb, seed, c_in, more, stride, expansion):
    block, x = nb["InvertedResidual"](c_in, c_in + more, stride, expansion), 8 * draw(seed, 2, c_in, 4, 5)
    modules.set_weights(block, seed)
    convs, norms = layers_of(block.eval(), nn.Conv2d), layers_of(block, nn.BatchNorm2d)
    assert len(convs) == 2 + (expansion > 1)
    y = x if expansion == 1 else norms[0](F.conv2d(x, convs[0].weight)).clamp(0, 6)
    y = norms[-2](F.conv2d(y, convs[-2].weight, stride=stride, padding=1, groups=c_in * expansion)).clamp(0, 6)
    y = norms[-1](F.conv2d(y, convs[-1].weight))
    torch.testing.assert_close(block(x), x + y if stride == 1 and not more else y)


def test_relu_destroys_few_channels_and_spares_many(nb):
    lost = list(nb["lost"].values())
    assert lost == sorted(lost, reverse=True) and lost[0] > 0.5 and lost[-1] < 0.1


@few
@given(st.integers(1, 400), st.integers(1, 12), st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 2.0]),
       st.sampled_from([1, 1.5, 3]))
def test_compound_scaling_keeps_its_rule(nb, channels, repeats, width, depth):
    c, r = nb["compound_scale"](channels, repeats, width, float(depth))
    wanted = channels * width
    assert c % 8 == 0 and c >= 8 and c >= 0.9 * wanted and (c <= wanted + 4 or c == 8 or c - 8 < 0.9 * wanted)
    assert r == ceil(repeats * depth) and isinstance(c, int) and isinstance(r, int)


def test_the_released_efficientnets(nb):
    assert nb["step"] == pytest.approx(1.92, abs=0.005) and nb["scaled"]["B7"][1] == 55
    assert nb["scaled"]["B1"][0] == nb["B0"]["channels"] and nb["compound_scale"](16, 1, 1.0, 1.1) == (16, 2)
    assert nb["scaled"]["B7"][0] == (32, 48, 80, 160, 224, 384, 640)


def test_scaled_stages_are_those_of_the_zoo(nb):
    from solutions.gpu.models.zoo import create

    for name in ("b3", "b7"):
        with torch.device("meta"):
            net = create(f"efficientnet_{name}")
        depthwise = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
        assert len(depthwise) == nb["scaled"][name.upper()][1]


# ------------------------------------------------------------------ the chart

def test_the_chart_is_drawn_from_todays_counts():
    table = results.load("network_costs")
    assert set(table["network"]) == set(network_costs.counted()), f"run {table.command}"
    rows = network_costs.measure(["alexnet_torchvision", "resnet50_v1_5", "efficientnet_b2"])
    assert list(rows[0]) == list(table)
    for row in rows:
        kept = {column: values[table["network"] == row["network"]].item() for column, values in table.items()}
        assert kept == row
    assert all((source != "") == (top1 > 0) for source, top1 in zip(table["source"], table["top1"]))


def test_what_the_chart_shows(nb):
    costs = nb["costs"]
    known = {name: (costs["multiply_adds"][i], costs["top1"][i], costs["parameters"][i])
             for name, i in nb["place"].items() if costs["top1"][i] > 0}
    vgg = known["vgg16"]
    assert any(10 * work < vgg[0] and top1 > vgg[1] for work, top1, _ in known.values())
    best, others = ([v for name, v in known.items() if ("efficientnet" in name) is which] for which in (True, False))
    assert len(best) == 8 and not any(w <= work and t >= top1 for work, top1, _ in best for w, t, _ in others)
    assert known["vgg16_bn"][0] == vgg[0] and known["vgg16_bn"][1] > vgg[1]
    assert set(nb["SHOWN"]) <= set(nb["place"])
    b0, b4, b7 = (known[f"efficientnet_{b}"] for b in ("b0", "b4", "b7"))
    assert (round(b4[1] - b0[1], 1), round(b7[1] - b4[1], 1)) == (5.7, 0.7)
    assert (round(b4[0] / b0[0]), round(b7[0] / b4[0])) == (11, 9)
    cheapest, dearest = (costs["multiply_adds"][nb["place"][nb["shown"][i]]] for i in (0, -1))
    assert dearest / cheapest == pytest.approx(90_000, rel=0.05)
    assert {row: known[row][1] for row in ("densenet121", "resnet50_v1_5", "mobilenet_v2", "mobilenet_v1")} == {
        "densenet121": 74.434, "resnet50_v1_5": 76.13, "mobilenet_v2": 71.878, "mobilenet_v1": 70.6}


# ------------------------------------------------------------------ search

@pytest.mark.parametrize("genes", [(0, 0, 0, 0, 0), (1, 3, 2, 3, 2), (3, 1, 3, 1, 3), (2, 2, 1, 2, 1)])
def test_the_notebooks_networks_are_those_of_the_table(nb, genes):
    ours, theirs = nb["digit_network"](genes), digit_search.network(genes)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    table = results.load("digit_search")
    row = np.all([table[g] == v for g, v in zip(digit_search.GENES, genes)], axis=0)
    assert table["parameters"][row].item() == count_parameters(ours)
    assert table["multiply_adds"][row].item() == count_multiply_adds(ours, (1, 8, 8))


def test_the_split_is_that_of_the_table(nb):
    for ours, theirs in zip(nb["split_digits"](), digit_search.split(), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_the_experiment_on_search_runs():
    (images, labels), *_ = digit_search.split()
    few_images = images[:20], labels[:20]
    rows = digit_search.measure([(0, 0, 2, 3, 0)], few_images, few_images, few_images, digit_search.Recipe(epochs=1))
    assert list(rows[0]) == list(results.load("digit_search"))


def test_the_live_search_beats_its_random_start(nb):
    history = nb["history"]
    assert len(history) == nb["BUDGET"] == 25 and nb["START"] == 10
    assert history.max() > history[:10].max() and history[10:].mean() > history[:10].mean() + 0.02


def test_evolution_against_random_search(nb):
    evolved, drawn = nb["curves"]["evolution"], nb["curves"]["random search"]
    assert evolved.shape == drawn.shape == (300, 100) and len(nb["genomes"]) == 1024 == len(set(nb["genomes"]))
    np.testing.assert_array_equal(evolved[:, :10], drawn[:, :10])
    assert nb["needed"] == 41 and nb["better"] == pytest.approx(0.69, abs=0.005)
    assert nb["worse"] == pytest.approx(0.22, abs=0.005)
    assert nb["table_scores"].keys() == set(nb["genomes"]) and 2**0.07 == pytest.approx(1.05, abs=0.001)


def test_winners_lead_less_on_images_they_were_not_chosen_by(nb):
    of = nb["accuracy"]
    chosen = {part: np.mean([of[part][n] for n in nb["winners"]]) for part in of}
    everyone = {part: np.mean(list(of[part].values())) for part in of}
    assert chosen["test"] < chosen["validation"] and everyone["test"] > everyone["validation"]
    assert nb["optimism"] > 0.005


@few
@given(seeds)
def test_a_step_of_evolution(nb, seed):
    rng = np.random.default_rng(seed)
    population = tuple(tuple(int(g) for g in rng.integers(4, size=3)) for _ in range(5))
    scores = tuple(rng.permutation(5) / 4)
    sample, gene, value = tuple(int(i) for i in rng.permutation(5)[:3]), int(rng.integers(3)), int(rng.integers(4))
    after = nb["evolution_step"](population, scores, sample, gene, value)
    parent = population[sorted(sample, key=lambda i: -scores[i])[0]]
    assert after[:-1] == population[1:] and after[-1][gene] == value
    assert all(a == b for i, (a, b) in enumerate(zip(after[-1], parent)) if i != gene)


# ------------------------------------------------------------------ pruning, transformers

@few
@given(seeds, st.integers(1, 20))
def test_masks_are_those_of_torchs_global_pruning(nb, seed, keep):
    from torch.nn.utils import prune

    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))  # 24 weights
    with torch.no_grad():
        for i, layer in enumerate(net):
            layer.weight.copy_(draw(seed + i, *layer.weight.shape))
    masks = nb["magnitude_masks"](keep, *(layer.weight.detach() for layer in net))
    prune.global_unstructured([(layer, "weight") for layer in net], prune.L1Unstructured, amount=24 - keep)
    for mask, layer in zip(masks, net):
        assert mask.dtype == torch.bool and torch.equal(mask, layer.weight_mask.bool())


def test_pruning_the_digits(nb):
    at = {share: {chosen: nb["pruned"][chosen][i] for chosen in nb["pruned"]} for i, share in enumerate(nb["shares"])}
    full = at[1]["magnitude"][0]
    assert nb["all_weights"] == 33_936 and full > 0.95
    assert at[0.1]["magnitude"][0] > full - 0.08 and 0.3 < at[0.05]["magnitude"][0] < 0.7
    assert at[0.05]["magnitude"][1] > full - 0.035
    assert at[0.5]["random"][0] < 0.45 and at[0.2]["random"][1] < 0.6
    kept = nb["kept_by_layer"]
    assert kept[0] == max(kept) and kept[0] == pytest.approx(0.785, abs=0.05)
    assert kept[4] == pytest.approx(0.07, abs=0.01)


def test_the_vision_transformer_has_the_published_parameters(nb):
    assert nb["vit"] == 86_567_656 and nb["tokens"].shape == (1, 196, 768)
