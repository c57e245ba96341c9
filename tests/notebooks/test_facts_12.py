"""Notebook 12: every number in its prose, the costs by another way, and GoogLeNet against its paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from autograder import sources
from autograder.exercise import load_all
from cnnlab import modules

SLUG = "12_googlenet"
EXERCISES = {e.id: e for e in load_all()[SLUG]}

# Szegedy et al. 2014, table 1: weights in thousands and operations in millions of each module.
PAPER = {"3a": (159, 128), "3b": (380, 304), "4a": (364, 73), "4b": (437, 88), "4c": (463, 100), "4d": (580, 119),
         "4e": (840, 170), "5a": (1072, 54), "5b": (1388, 71)}


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def test_each_filter_answers_one_to_its_own_dot_and_little_to_the_others(nb):
    peaks = nb["peaks"]
    np.testing.assert_allclose(np.diag(peaks), 1, atol=1e-5)
    assert abs(peaks[np.triu_indices(3, 1)]).max() < 1e-5  # too small a filter sees a flat middle
    assert 0.05 < peaks[np.tril_indices(3, -1)].min() and peaks[np.tril_indices(3, -1)].max() < 0.3


def test_the_naive_example_costs_854_million_most_of_it_for_5x5(nb):
    assert nb["naive_cost"](256, 128, 192, 96, 28, 28) == (672, 1_089_536, 854_196_224)
    costs = [nb["naive_cost"](256, *n, 28, 28)[2] for n in ((128, 0, 0), (0, 192, 0), (0, 0, 96))]
    assert costs[2] > costs[1] > costs[0] and sum(costs) == 854_196_224


def test_bottlenecks_make_it_three_times_cheaper_and_choose_the_channels(nb):
    channels, _, adds = nb["bottleneck_cost"](256, 128, 64, 192, 64, 96, 64, 28, 28)
    assert channels == 480 and round(854_196_224 / adds, 1) == 3.1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=9, max_size=9))
def test_costs_are_what_torch_counts(widths):
    oracle = EXERCISES["inception_module"].oracle
    *channels, height, width = widths
    with modules.on("meta"), FlopCounterMode(display=False) as counter:
        net = oracle(*channels)
        net(torch.zeros(1, channels[0], height, width))
    out, weights, adds = EXERCISES["bottleneck_cost"].oracle(*channels, height, width)
    assert counter.get_total_flops() == 2 * adds
    assert weights == sum(p.numel() for p in net.parameters() if p.dim() == 4)


def test_the_nine_modules_are_those_of_the_paper(nb):
    c, total = 192, 0
    for name, (n1, r3, n3, r5, n5, proj) in nb["MODULES"].items():
        side = nb["SIDE"][name[0]]
        c, weights, adds = nb["bottleneck_cost"](c, n1, r3, n3, r5, n5, proj, side, side)
        thousands, millions = PAPER[name]
        assert abs(weights / 1024 / thousands - 1) < 0.08 and abs(adds / 1e6 / millions - 1) < 0.06
        total += adds
    assert c == 1024 and round(total / 1e6) == 1104
    assert nb["c_naive"] == 4944
    assert [round(v) for v in nb["sums"][:2]] == [1104, 3881] and round(nb["sums"][1] / nb["sums"][0], 1) == 3.5
    chained = [cost[2] > cost[1] for cost in nb["costs"].values()]
    assert chained == [False, *[True] * 8]


def test_naive_inception_is_what_torch_does_on_random_tensors(nb):
    torch.manual_seed(1)
    x, w1, w3, w5 = torch.randn(2, 3, 6, 7), torch.randn(2, 3, 1, 1), torch.randn(4, 3, 3, 3), torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(nb["naive_inception"](x, w1, w3, w5), EXERCISES["naive_inception"].oracle(x, w1, w3, w5))


def test_global_average_pooling_saves_49_of_50_million(nb):
    assert (nb["pooled_head"], nb["flat_head"]) == (1_025_000, 50_177_000)


def test_vgg_has_most_of_its_parameters_in_three_layers():
    fully = [(25088, 4096), (4096, 4096), (4096, 1000)]
    assert round(sum(a * b + b for a, b in fully) / 1e6, 1) == 123.6  # of 138.4, notebook 11


def test_the_first_loss_is_1_6_times_ln_1000(nb):
    assert nb["first_loss"] == pytest.approx(1.6 * np.log(1000), rel=1e-6)


def test_googlenet_keeps_seven_million_parameters(nb):
    assert nb["kept"] == 6_998_552 and nb["parts"]["heads"] == 6_379_728
    assert round(60_965_224 / nb["kept"], 1) == 8.7
    rows = 2.7 + 112 + 1000 + sum(thousands for thousands, _ in PAPER.values())  # first rows, scoring layer, modules
    assert round(rows / 1000, 1) == 6.8


def test_alexnet_has_the_parameters_that_are_quoted():
    shapes = [(96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3), (4096, 9216), (4096, 4096),
              (1000, 4096)]
    assert sum(int(np.prod(s)) + s[0] for s in shapes) == 60_965_224


def test_googlenet_has_22_layers_and_gives_three_outputs_in_training(nb):
    net = nb["net"].train()
    assert [tuple(out.shape) for out in net(torch.zeros(1, 3, 224, 224))] == [(1, 1000)] * 3
    assert (nb["depth"], nb["layers_in_all"], nb["depth"] + nb["poolings"]) == (22, 58, 27)
    kinds = [type(part) for part in net.modules()]
    assert kinds.count(torch.nn.Conv2d) + kinds.count(torch.nn.Linear) == 58 + 2 * 3  # and three in each head
    net.eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_the_cells_after_the_network_need_no_names_of_its_layers():
    text = (sources.SOLUTIONS / f"{SLUG}.py").read_text("utf-8")
    rest = text.split('check("googlenet"')[1]
    assert "net.modules()" in rest and "net.layers" not in rest and "net.end" not in rest


def test_the_heads_help_where_the_first_weights_are_too_small(nb):
    small, he = nb["shares"].values()
    assert 30 < small < 400 and 0.4 < he < 2.5  # about a hundred times, and about as much: both vary with the seed
    own = nb["by_start"]["PyTorch's default"]["the network's own loss"]
    assert own[-1] > 1000 * own[0]
    own = nb["by_start"]["He's"]["the network's own loss"]
    assert own[-1] < 10 * own[0]


def test_the_small_network_learns_the_digits(nb):
    assert sum(p.numel() for p in nb["small"].parameters()) == 12_616
    assert nb["history"].score[-1] > 0.95


def test_the_answer_to_the_written_question_is_right():
    channels = [256]
    for _ in range(8):
        channels.append(channels[-1] + 128)
    assert channels[1:3] == [384, 512] and channels[-1] == 1280


def test_the_loss_is_torchs(nb):
    torch.manual_seed(0)
    a, b, c = torch.randn(3, 5, 7)
    labels = torch.arange(5)
    expected = F.cross_entropy(a, labels) + 0.3 * F.cross_entropy(b, labels) + 0.3 * F.cross_entropy(c, labels)
    torch.testing.assert_close(nb["googlenet_loss"](a, b, c, labels), expected)
