"""Notebook 11: every number in its prose, and its functions against torch and the published counts."""

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

from cnnlab import modules
from solutions.gpu.experiments import two_3x3_one_5x5, vgg_batch_norm
from solutions.gpu.models.network import count_multiply_adds
from solutions.gpu.models.resnet import resnet
from solutions.gpu.models.vgg import CONFIGURATIONS, vgg

SLUG = "11_vgg"
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

configs = st.lists(st.sampled_from([2, 3, 4, 5, "M"]), min_size=1, max_size=7).map(tuple).filter(
    lambda c: c.count("M") <= 3 and c.count("M") < len(c))


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


# ------------------------------------------------------------------ small windows

def test_two_rules_halve_224_to_7():
    assert [224 >> n for n in range(6)] == [224, 112, 56, 28, 14, 7]


def test_stacks_and_their_equals(nb):
    assert nb["stacks"] == {(64, 64, 2): (73856, 102464), (64, 64, 3): (110784, 200768), (3, 64, 2): (38720, 4864),
                            (64, 128, 2): (221440, 204928), (128, 256, 3): (1475328, 1605888)}
    assert round(100 * (25 / 18 - 1)) == 39 and round(100 * (49 / 27 - 1)) == 81
    assert 38720 / 4864 == pytest.approx(8, abs=0.1)                     # "eight times more"
    assert 221440 / 204928 == pytest.approx(1.08, abs=0.005)


def test_the_correction_the_second_128_filter_layer(nb):
    (_, parameters, _), = nb["vgg_table"]((128, 112, 112), (128,))
    assert parameters - 128 == 3 * 3 * 128 * 128 == 147456
    assert nb["table"][4, 1] == parameters                               # conv2_2


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_stack_parameters_are_torchs(nb, c_in, c_out, depth):
    with torch.device("meta"):
        stack = [nn.Conv2d(c_out if i else c_in, c_out, 3) for i in range(depth)]
        one = nn.Conv2d(c_in, c_out, 2 * depth + 1)
    expected = modules.count_parameters(nn.Sequential(*stack)), modules.count_parameters(one)
    assert nb["stack_parameters"](c_in, c_out, depth) == expected


def test_live_stacks_make_fewer_errors_with_fewer_parameters(nb):
    live = nb["live"]
    for stack, one in [("two 3×3", "one 5×5"), ("three 3×3", "one 7×7")]:
        assert live[stack][0] < live[one][0] and live[stack][1] < live[one][1]
    assert len(nb["test_set"][1]) == 360


def test_the_measured_stacks(nb):
    measured, errors = nb["measured"], nb["errors"]
    assert nb["gains"]["two 3x3"] == pytest.approx(2.3, abs=0.05)
    assert nb["gains"]["three 3x3"] == pytest.approx(1.4, abs=0.05)
    count = {stage: measured["parameters"][rows][0] for stage, rows in nb["kinds"].items()}
    assert count["two 3x3"] / count["one 5x5"] == pytest.approx(0.73, abs=0.005)
    assert count["three 3x3"] / count["one 7x7"] == pytest.approx(0.56, abs=0.005)
    pairs = [("two 3x3", "one 5x5"), ("three 3x3", "one 7x7")]
    assert all(errors["train_error"][a].mean() < errors["train_error"][b].mean() for a, b in pairs)
    opposite = [(errors["test_error"][a] > errors["test_error"][b]).sum() for a, b in pairs]
    assert opposite == [0, 1] and all(len(runs) == 3 for runs in errors["test_error"].values())
    assert all(45 < runs.mean() < 55 for runs in errors["test_error"].values())


def test_the_measured_networks_are_as_the_text_says():
    source = inspect.getsource(two_3x3_one_5x5.run)
    assert "cifar(train=10000, test=2000, size=16), width=16, epochs=8, seeds=3" in source
    assert any(isinstance(m, nn.BatchNorm2d) for m in two_3x3_one_5x5.network([3], 4).modules())
    assert "cifar(train=5000, test=100), configurations=\"AD\", rates=(0.01, 0.05, 0.2), epochs=5" in inspect.getsource(
        vgg_batch_norm.run)


# ------------------------------------------------------------------ receptive fields

def test_receptive_fields_of_vgg_16(nb):
    fields, entries = nb["fields"], nb["CONFIGS"]["D"]
    assert fields == (3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212)
    assert nb["without_pooling"][-1] == 27 and len(nb["without_pooling"]) == sum(e != "M" for e in entries) == 13
    assert [b - a for a, b in zip(fields, fields[1:])][-4:-1] == [32] * 3 and fields[1] - fields[0] == 2


@few
@given(configs)
def test_receptive_fields_are_what_the_gradient_reaches(nb, config):
    x = torch.ones(1, 1, 300, dtype=torch.float64, requires_grad=True)
    y, expected = x, []
    for entry in config:
        y = F.avg_pool1d(y, 2) if entry == "M" else F.conv1d(y, torch.ones(1, 1, 3, dtype=torch.float64))
        expected.append(int(torch.autograd.grad(y[0, 0, 0], x, retain_graph=True)[0].count_nonzero()))
    assert nb["vgg_receptive_fields"](config) == tuple(expected)


# ------------------------------------------------------------------ blocks, lists, the classifier

def test_configurations_are_the_zoos(nb):
    assert {k: tuple("M" if e == "pool" else e for e in CONFIGURATIONS[k]) for k in "ABDE"} == nb["CONFIGS"]
    assert {k: sum(e != "M" for e in c) + 3 for k, c in nb["CONFIGS"].items()} == {"A": 11, "B": 13, "D": 16, "E": 19}


def test_a_bias_in_front_of_batch_norm_has_no_gradient(nb):
    assert len(nb["largest"]) == 2
    assert all(bias < 1e-6 < 1e-3 < weight for weight, bias in nb["largest"])


def test_the_third_blocks_of_b_c_and_d(nb):
    assert nb["block_counts"] == {"B": 885248, "C": 951040, "D": 1475328}
    assert (951040 - 885248 - 256) * 9 == 1475328 - 885248 - 256         # "a ninth of the weights"


def test_shapes_at_the_end_of_the_features(nb):
    assert set(nb["shapes"].values()) == {(1, 512, 7, 7)} and nb["wide"] == (1, 512, 8, 10)


def test_the_volumes_of_the_figure_are_those_of_the_network(nb):
    with torch.device("meta"):
        x = torch.zeros(1, 3, 224, 224)
        shapes = [tuple(x.shape[1:])]
        for c_in, c_out, windows in [(3, 64, (3, 3)), (64, 128, (3, 3)), (128, 256, (3, 3, 3)), (256, 512, (3, 3, 3)),
                                     (512, 512, (3, 3, 3))]:
            shapes.append((c_out, *x.shape[2:]))
            x = nb["VGGBlock"](c_in, c_out, windows)(x)
    assert list(nb["volumes"].values()) == [*shapes, tuple(x.shape[1:])]


def test_dropout_differs_in_training_and_stops_in_evaluation(nb):
    first, second = nb["dropped"]
    assert not torch.equal(first, second)
    assert torch.equal(*nb["kept"])


def test_converted_weights_give_the_mean_of_all_passes(nb):
    assert nb["off"] < 0.02 < 0.2 < nb["old_training"].std(0).mean()


@few
@given(configs, st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_features_are_the_layers_one_after_the_other(nb, config, c_in, normed, seed):
    torch.manual_seed(seed)
    net = nb["vgg_features"](config, c_in, normed).eval()
    modules.set_weights(net, seed)
    convs, norms = ([m for m in net.modules() if isinstance(m, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d))
    x = expected = torch.randn(2, c_in, 9, 11, dtype=torch.float64)
    for entry in config:
        if entry == "M":
            expected = F.max_pool2d(expected, 2)
            continue
        conv = convs.pop(0)
        expected = F.conv2d(expected, conv.weight, conv.bias, padding=1)
        if normed:
            norm = norms.pop(0)
            expected = F.batch_norm(expected, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        expected = expected.clamp(min=0)
    with torch.no_grad():
        torch.testing.assert_close(net(x.clone()), expected)


# ------------------------------------------------------------------ the whole network and what it costs

def test_parameters_of_a_to_e(nb):
    assert nb["counts"] == {"A": 132863336, "B": 133047848, "C": 133638952, "D": 138357544, "E": 143667240}
    assert {k: round(v / 1e6) for k, v in nb["counts"].items()} == nb["paper"]
    assert nb["table"][:18, 1].sum() / 1e6 == pytest.approx(14.7, abs=0.05)
    assert nb["counts"]["E"] / nb["counts"]["A"] == pytest.approx(1.08, abs=0.005)


@pytest.mark.parametrize("normed", [False, True])
def test_the_networks_have_the_layers_of_the_zoos(nb, normed):
    with torch.device("meta"):
        for letter, config in nb["CONFIGS"].items():
            size = 1, 3, 224, 224
            assert modules.layers(nb["VGG"](config, batch_norm=normed), size) == modules.layers(
                vgg(letter, batch_norm=normed), size)
        assert modules.count_parameters(vgg("C")) == nb["counts"]["C"]


def test_a_lrn_learns_as_much_as_a(nb):
    with torch.device("meta"):
        assert modules.count_parameters(vgg("A-LRN")) == nb["counts"]["A"]


def test_memory_early_parameters_late(nb):
    assert nb["with_image"] == 15_237_608 and nb["with_image"] * 4 / 1e6 == pytest.approx(61, abs=0.1)
    assert nb["table"][:3, 0].sum() / nb["with_image"] == pytest.approx(0.47, abs=0.005)
    assert nb["parameters"] == 138_357_544 and nb["table"][-3, 1] - 4096 == 102_760_448 == 7 * 7 * 512 * 4096
    assert nb["table"][-3, 1] / nb["parameters"] == pytest.approx(0.74, abs=0.005)
    assert nb["table"][-3:, 1].sum() / nb["parameters"] == pytest.approx(0.89, abs=0.005)
    assert nb["multiply_adds"] == pytest.approx(15.5e9, rel=0.005)
    assert nb["table"][-3:, 2].sum() / nb["multiply_adds"] == pytest.approx(0.008, abs=0.0005)


def test_resnet_50_needs_about_a_quarter_of_the_multiply_adds(nb):
    with torch.device("meta"):
        assert 3.5 < nb["multiply_adds"] / count_multiply_adds(resnet(50), (3, 224, 224)) < 4.5


def test_layers_that_keep_their_channels_cost_the_same_but_in_block_5(nb):
    work = dict(zip(nb["names"], nb["table"][:, 2]))
    assert {work[name] for name in ("conv1_2", "conv2_2", "conv3_2", "conv3_3", "conv4_2", "conv4_3")} == {1849688064}
    assert {work[f"conv5_{i}"] * 4 for i in (1, 2, 3)} == {1849688064}


def test_the_table_is_the_summarys(nb):
    assert nb["agrees"] is True
    assert nb["report"].forward_bytes == 4 * nb["with_image"]


def test_a_quarter_of_a_batch_barely_fits_6_gb(nb):
    assert nb["share_images"] == 64 and nb["activations"] == pytest.approx(3.9, abs=0.01)
    assert nb["weights"] == pytest.approx(0.55, abs=0.005) and nb["needed"] == pytest.approx(5.6, abs=0.05)


@few
@given(st.tuples(st.integers(1, 4), st.integers(8, 20), st.integers(8, 20)), configs,
       st.lists(st.integers(1, 20), max_size=3).map(tuple))
def test_the_table_is_what_torchs_layers_say(nb, image, config, linear):
    with torch.device("meta"):
        x, c, made = torch.zeros(1, *image), image[0], []
        for entry in config:
            made.append(nn.MaxPool2d(2) if entry == "M" else nn.Conv2d(c, entry, 3, padding=1))
            c = c if entry == "M" else entry
        rows = []
        for layer in made:
            x = layer(x)
            rows.append((x.numel(), modules.count_parameters(layer)))
        n = x.numel()
        for outputs in linear:
            rows.append((outputs, modules.count_parameters(nn.Linear(n, outputs))))
            n = outputs
    assert [row[:2] for row in nb["vgg_table"](image, config, linear)] == rows


# ------------------------------------------------------------------ first weights

def test_the_signal_by_depth(nb):
    last = {name: sizes[-1] for name, sizes in nb["by_depth"].items()}
    assert last["0.01"] < 1e-14 and last["Glorot"] < 0.01 < 0.1 < last["He"] < 3 < last["0.1"] < 30
    assert last["He"] / last["Glorot"] == pytest.approx(math.sqrt(2)**16, rel=1e-3)
    assert nb["normed"] == pytest.approx([math.sqrt(1 / 2)] * 16, rel=0.1)
    assert nb["factors"][32][0.01] == pytest.approx(0.12, abs=0.005)       # "nearly nine tenths" are lost
    assert nb["factors"][512][0.1] == pytest.approx(4.8, abs=0.05) and nb["factors"][512][0.01] < 0.5


def test_he_et_als_factor_for_network_b(nb):
    assert 1 / nb["too_small"] == pytest.approx(1.7e4, rel=0.02)
    assert [round(v, 3) for v in nb["he_std"]] == [0.059, 0.042, 0.029, 0.021]


@few
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_activation_sizes_are_those_of_a_network(nb, layers, channels, seed):
    torch.manual_seed(seed)
    x, weights = torch.randn(2, channels, 5, 6), torch.randn(layers, channels, channels, 3, 3)
    seen, net = [], nn.Sequential(*[part for _ in range(layers) for part in (
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU())])
    for layer, weight in zip(net[::2], weights):
        layer.weight.data = weight
    for relu in net[1::2]:
        relu.register_forward_hook(lambda m, i, out: seen.append(out.detach().norm() / math.sqrt(out.numel())))
    net(x)
    torch.testing.assert_close(nb["activation_sizes"](x, weights), torch.stack(seen))


def test_the_deep_net_learns_from_he_or_with_batch_norm_only(nb):
    losses, scores = nb["losses"], nb["scores"]
    assert np.abs(np.array(losses["0.01"]) - math.log(10)).max() < 0.05 and scores["0.01"] < 0.2
    assert scores["He"] > 0.5 and scores["0.01 with batch norm"] > 0.7
    half = len(losses["He"]) // 2
    assert np.mean(losses["0.01 with batch norm"][:half]) < np.mean(losses["He"][:half])  # "and faster"
    assert sum(entry != "M" for entry in nb["DEEP"]) == 12


def test_the_measured_starts_of_vgg(nb):
    curves = nb["curves"]

    def curve(letter, lr, column):
        return curves[column][(curves["configuration"] == letter) & (curves["lr"] == lr)]

    ends = {(letter, lr): [curve(letter, lr, column)[-1] for column in nb["columns"]]
            for letter in "AD" for lr in (0.01, 0.05, 0.2)}
    assert list(nb["rates"]) == [0.01, 0.05, 0.2] and curves["step"].max() == 200
    assert all(abs(start - math.log(10)) < 0.02 for start, _, _ in ends.values())
    assert all(normed < min(he, 2.0) for _, he, normed in ends.values())
    he = {key: end[1] for key, end in ends.items()}
    assert he["A", 0.01] < 1.75 and he["A", 0.05] < 1.75 and 2 < he["A", 0.2] < 2.25
    assert he["A", 0.01] < he["D", 0.01] < 1.85
    assert curve("D", 0.05, "he").min() < 2.1 and abs(he["D", 0.05] - math.log(10)) < 0.01
    assert curve("D", 0.2, "he").min() > 2.29


# ------------------------------------------------------------------ the written question

def test_the_model_answer(nb):
    table, d = nb["vgg_table"], nb["CONFIGS"]["D"]

    def totals(image, config, linear=(4096, 4096, 20)):
        return np.array(table(image, config, linear)).sum(axis=0) + (math.prod(image), 0, 0)

    whole = totals((3, 224, 224), d)
    assert whole[1] / 1e6 == pytest.approx(134.3, abs=0.05) and whole[1] * 4 / 1e6 == pytest.approx(537, abs=0.5)
    p = totals((3, 224, 224), d, ())[1] + 512 * 20 + 20
    assert p / 1e6 == pytest.approx(14.7, abs=0.05) and p * 4 / 1e6 == pytest.approx(59, abs=0.5)
    assert (whole[1] - p) / whole[1] == pytest.approx(0.9, abs=0.02)
    assert (whole[1] - p) / 1e6 == pytest.approx(119.6, abs=0.05)
    q = (whole - totals((3, 224, 224), (32, 32, *d[2:]))) / whole
    assert 0.2 < q[0] < 0.25 and q[1] < 0.001 and q[2] == pytest.approx(0.12, abs=0.005)
    r = totals((3, 112, 112), d, ()) / totals((3, 224, 224), d, ())
    assert r == pytest.approx([0.25, 1, 0.25], rel=0.01)
    fc6 = [table((3, n, n), d, (4096,))[-1][1] for n in (112, 224)]
    assert fc6[0] / fc6[1] < 1 / 5 and 112 >> 5 == 3
