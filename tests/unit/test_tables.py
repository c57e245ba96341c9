"""`cnnlab.summary`: the numbers of the lectures, counted a second way, and a model that is left as it was."""

import re
import subprocess
import sys
from collections import OrderedDict
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import cnnlab
from autograder.sources import ROOT
from cnnlab.tables import _bytes, _rounded, kind

VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]


def vgg16():
    """Simonyan & Zisserman (2015), configuration D, on the meta device; ReLU works in place."""
    layers, maps = [], 3
    with torch.device("meta"):
        for out in VGG16:
            layers += [nn.MaxPool2d(2)] if out == "M" else [nn.Conv2d(maps, out, 3, padding=1), nn.ReLU(True)]
            maps = maps if out == "M" else out
        head = [nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096),
                nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 1000)]
        return nn.Sequential(*layers, *head).eval()


def alexnet(groups):
    """Krizhevsky et al. (2012), section 3.5: in two towers if groups is 2, in one if it is 1."""
    with torch.device("meta"):
        parts = dict(conv1=nn.Conv2d(3, 96, 11, 4), relu1=nn.ReLU(True), pool1=nn.MaxPool2d(3, 2),
                     norm1=nn.LocalResponseNorm(5), conv2=nn.Conv2d(96, 256, 5, padding=2, groups=groups),
                     relu2=nn.ReLU(True), pool2=nn.MaxPool2d(3, 2), norm2=nn.LocalResponseNorm(5),
                     conv3=nn.Conv2d(256, 384, 3, padding=1), relu3=nn.ReLU(True),
                     conv4=nn.Conv2d(384, 384, 3, padding=1, groups=groups), relu4=nn.ReLU(True),
                     conv5=nn.Conv2d(384, 256, 3, padding=1, groups=groups), relu5=nn.ReLU(True),
                     pool3=nn.MaxPool2d(3, 2), flatten=nn.Flatten(), fc6=nn.Linear(9216, 4096), relu6=nn.ReLU(True),
                     drop6=nn.Dropout(), fc7=nn.Linear(4096, 4096), relu7=nn.ReLU(True), drop7=nn.Dropout(),
                     fc8=nn.Linear(4096, 1000))
        return nn.Sequential(OrderedDict(parts))


class Residual(nn.Module):
    """A block as ResNet has it, with a layer used twice, a concatenation and a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu, self.spare = nn.ReLU(inplace=True), nn.Linear(5, 5)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)) + x)
        return torch.cat([F.relu(self.conv(x)), x], 1)


# ------------------------------------------------------------------ the tables of the lectures

def test_vgg16_costs_what_the_lecture_says_with_its_corrections():
    s = cnnlab.summary(vgg16(), (3, 224, 224))
    assert s.parameters == 138_357_544 and s.multiply_adds == 15_470_264_320
    linears = [row for row in s.rows if row.kind == "linear"]
    assert [row.parameters - row.output[1] for row in linears] == [102_760_448, 16_777_216, 4_096_000]
    assert s.rows[8].name == "7" and s.rows[8].parameters - 128 == 3 * 3 * 128 * 128 == 147_456
    assert s.forward_bytes == 4 * 15_237_608 and "61.0 MB of activations forward (15,237,608 values)" in str(s)
    early = sum(row.forward_bytes for row in s.rows[:11]) / s.forward_bytes  # up to the second pooling
    assert early > 0.7 and sum(row.parameters for row in linears) / s.parameters > 0.89


def test_alexnet_prints_the_lectures_table():
    s = cnnlab.summary(alexnet(1), (3, 227, 227))
    by_name = {row.name: row for row in s.rows}
    assert by_name["conv1"].parameters == 34_944
    assert [by_name[n].output[1:] for n in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool3", "fc6", "fc8")] == [
        (96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (256, 13, 13), (256, 6, 6), (4096,), (1000,)]
    assert s.parameters == 62_378_344
    lines = str(s.lecture()).splitlines()
    assert [line.split()[0] for line in lines[4:-4]] == ["input", "conv1", "pool1", "norm1", "conv2", "pool2", "norm2",
                                                         "conv3", "conv4", "conv5", "pool3", "fc6", "fc7", "fc8"]
    assert re.split(r"  +", lines[5]) == [
        "conv1", "conv 11×11, stride 4", "55×55×96", "35K", "105M", "1.16 MB", "1.16 MB"]
    assert re.split(r"  +", lines[6])[:4] == ["pool1", "max pool 3×3, stride 2", "27×27×96", "0"]
    for total in ("parameters", "multiply_adds", "forward_bytes", "backward_bytes"):
        assert getattr(s, total) == getattr(s.lecture(), total)  # nothing is lost with the rows


def test_two_towers_have_fewer_weights_than_one():
    towers = cnnlab.summary(alexnet(2), (3, 227, 227))
    assert towers.parameters == 60_965_224  # "60 million parameters" (section 1 of the paper)
    assert towers.rows[5].kind == "conv 5×5, pad 2, groups 2" and "conv 11×11, stride 4" in str(towers)


def test_the_table_is_aligned_separated_and_at_most_100_columns():
    text = str(cnnlab.summary(vgg16(), (3, 224, 224)))
    first, *_ = [line for line in text.splitlines() if line.startswith("32 ")]
    assert re.split(r"  +", first) == ["32", "linear", "4096", "102,764,544", "102,760,448", "16.4 kB", "16.4 kB"]
    assert text.startswith("Sequential, input 3×224×224\n")
    assert len({line.rindex("  ") for line in text.splitlines()[4:-4] if line.endswith("MB")}) == 1

    deep = nn.Sequential(OrderedDict(a_stage_with_a_very_long_name=nn.Sequential(OrderedDict(
        another_long_name_inside_of_it=nn.Conv2d(3, 8, (3, 5), (1, 2), (1, 2), groups=1, padding_mode="reflect")))))
    text = str(cnnlab.summary(deep, (64, 3, 640, 640)))
    assert max(map(len, text.splitlines())) <= 100 and "…" in text and ", batch of 64" in text


def test_a_notebook_gets_a_plain_table():
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.texts = [], []

        def handle_starttag(self, tag, attributes):
            self.tags.append(tag)

        def handle_data(self, data):
            self.texts.append(data)

    page = cnnlab.summary(nn.Sequential(nn.Conv2d(3, 8, 3)), (3, 9, 9))._repr_html_()
    cells = Cells()
    cells.feed(page)
    assert cells.tags.count("tr") == 3 and cells.tags.count("td") == 14 and "conv 3×3" in cells.texts
    assert "color:" not in page.replace("background-color", "")  # the page's own colour, dark or light


# ------------------------------------------------------------------ counted a second way

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3),
       st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_a_convolution_costs_a_window_of_multiply_adds_for_each_output(
        n, c_in, c_out, groups, kh, kw, stride, pad, bias):
    conv = nn.Conv2d(c_in * groups, c_out * groups, (kh, kw), stride, pad, groups=groups, bias=bias)
    x = torch.zeros(n, c_in * groups, 7, 8)
    out = conv(x)
    _, row = cnnlab.summary(conv, x.shape).rows
    assert row.multiply_adds == out.numel() * c_in * kh * kw and row.output == out.shape
    assert row.parameters == sum(p.numel() for p in conv.parameters()) and row.forward_bytes == 4 * out.numel()


@pytest.mark.parametrize("training", [True, False])
def test_what_is_kept_for_backward_is_what_autograd_saves(training):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(2), Residual(), nn.Tanh(),
                          nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 9, 10)).train(training)
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    saved = {}

    def save(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is given twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(torch.zeros(2, 4, 8, 8))
    expected = sum(t.untyped_storage().nbytes() for address, t in saved.items() if address and address not in own)
    if not training:  # on the meta device batch norm keeps a mean and a variance of four channels here too
        expected += 2 * 2 * 4 * 4
    assert cnnlab.summary(model, (2, 4, 8, 8)).backward_bytes == expected


def test_max_pooling_keeps_its_input_and_eight_bytes_an_output():
    _, conv, pool = cnnlab.summary(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)), (1, 8, 8)).rows
    assert conv.backward_bytes == 4 * 2 * 8 * 8 and pool.backward_bytes == 8 * 2 * 4 * 4
    assert pool.forward_bytes == 4 * 2 * 4 * 4 and pool.multiply_adds == 0


def test_layers_in_place_add_no_memory_and_frozen_ones_keep_nothing():
    apart, within = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace), nn.Flatten()) for inplace in (False, True))
    assert [r.forward_bytes for r in cnnlab.summary(apart, (1, 8, 8)).rows] == [256, 288, 288, 0]
    assert [r.forward_bytes for r in cnnlab.summary(within, (1, 8, 8)).rows] == [256, 288, 0, 0]
    assert cnnlab.summary(apart.requires_grad_(False), (1, 8, 8)).backward_bytes == 0


def test_half_precision_takes_half_the_memory():
    conv = nn.Conv2d(1, 2, 3)
    full = cnnlab.summary(conv, (1, 8, 8)).forward_bytes
    assert cnnlab.summary(conv.half(), (1, 8, 8)).forward_bytes == full / 2


# ------------------------------------------------------------------ blocks, and the order of things

def test_a_layer_used_twice_has_two_rows_and_its_weights_once():
    s = cnnlab.summary(Residual(), (4, 6, 6))
    assert [row.name for row in s.rows] == ["input", "conv", "norm", "relu", "conv", "Residual"]
    assert [row.parameters for row in s.rows] == [0, 144, 8, 0, 0, 0] and s.parameters == 144 + 8 + 30
    assert "182 parameters, 30 of them in layers that did not run" in str(s)
    assert s.rows[-1].output == (1, 8, 6, 6) and s.rows[-1].forward_bytes == 4 * 8 * 36  # the concatenation
    assert s.rows[1].multiply_adds == s.rows[4].multiply_adds == 36 * 4 * 36


def test_the_work_of_a_module_between_its_parts_has_a_row():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part, self.weight = nn.Linear(3, 4), nn.Parameter(torch.ones(5, 4))

        def forward(self, x):
            return {"of": 5, "scores": F.linear(self.part(x), self.weight)}

    _, part, whole = cnnlab.summary(Net(), (3,)).rows
    assert (part.multiply_adds, whole.multiply_adds) == (12, 20) and (part.parameters, whole.parameters) == (16, 20)


def test_weights_that_two_layers_share_are_counted_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    s = cnnlab.summary(model, (4,))
    assert [row.parameters for row in s.rows] == [0, 20, 4] and s.parameters == 24 and "did not run" not in str(s)


@pytest.mark.parametrize(("layer", "words"), [
    (nn.Conv2d(3, 4, (3, 1), (2, 1), (1, 0), dilation=2, groups=1), "conv 3×1, stride 2×1, pad 1×0, dilation 2"),
    (nn.Conv2d(3, 4, 3, padding="same"), "conv 3×3, pad same"), (nn.Conv1d(3, 4, 5), "conv 5"),
    (nn.ConvTranspose2d(3, 4, 2, 2), "transposed conv 2×2, stride 2"), (nn.MaxPool2d(3, 2), "max pool 3×3, stride 2"),
    (nn.MaxPool1d(2), "max pool 2, stride 2"), (nn.AvgPool2d((2, 3)), "average pool 2×3, stride 2×3"),
    (nn.AdaptiveAvgPool2d(1), "average pool to 1×1"), (nn.LocalResponseNorm(5), "LRN over 5"),
    (nn.BatchNorm2d(3), "batch norm"), (nn.Dropout(0.25), "dropout 0.25"), (nn.ReLU(), "ReLU"), (nn.GELU(), "GELU")])
def test_a_layer_is_named_with_what_it_was_set_to(layer, words):
    assert kind(layer) == words


@pytest.mark.parametrize(("number", "short"), [(34_944, "35K"), (999, "999"), (3_211_264, "3.2M"), (9_990_000, "10M"),
                                               (102_760_448, "103M"), (15_470_264_320, "15G"), (0, "0")])
def test_numbers_are_rounded_as_in_lectures(number, short):
    assert _rounded(number) == short


def test_bytes_have_three_digits():
    assert [_bytes(n) for n in (0, 12, 4000, 12_845_056, 411_041_792, 10**9)] == [
        "0", "12 B", "4.00 kB", "12.8 MB", "411 MB", "1.00 GB"]


# ------------------------------------------------------------------ the model is left as it was

def test_the_model_is_not_changed():
    model = nn.Sequential(Residual(), nn.Dropout(), nn.BatchNorm2d(8))
    model[2].eval()
    called = []
    model[0].register_forward_hook(lambda *_: called.append(1))
    model[0].register_forward_pre_hook(lambda *_: called.append(1))
    model[0].last = model[0].conv(torch.zeros(1, 4, 6, 6))  # as a notebook might keep it: not a leaf
    before = {name: t.clone() for name, t in model.state_dict().items()}
    seed, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    cnnlab.summary(model, (2, 4, 6, 6))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [m.training for m in model.modules()] == [True] * 6 + [True, False] and not called
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model] == [2, 0, 0]
    assert model[0].last.device.type == "cpu" and all(p.device.type == "cpu" for p in model.parameters())
    assert torch.equal(seed, torch.random.get_rng_state()) and torch.is_grad_enabled() is grad
    with torch.no_grad():
        assert cnnlab.summary(model, (2, 4, 6, 6)).backward_bytes > 0 and not torch.is_grad_enabled()


def test_parts_keep_their_own_mode_and_the_run_is_on_the_meta_device():
    seen = []

    class Note(nn.Module):
        def forward(self, x):
            seen.append((x.device.type, self.training))
            return x

    cnnlab.summary(nn.Sequential(nn.Linear(3, 3), Note(), Note().eval()), (3,))
    assert seen == [("meta", True), ("meta", False)]


def test_a_network_that_needs_values_is_run_on_zeros():
    class ByNumPy(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy().sum(axis=1, keepdims=True)) + x

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), ByNumPy())
    assert cnnlab.summary(model, (1, 8, 8)).rows[-1].output == (1, 2, 6, 6)
    assert model[1].num_batches_tracked == 0


def test_a_compiled_network_is_summarised_as_it_was_written():
    assert cnnlab.summary(torch.compile(nn.Sequential(nn.Linear(3, 3)), backend="eager"), (3,)).parameters == 12


# ------------------------------------------------------------------ what cannot be done

@pytest.mark.parametrize("size", [(3, 8, 8), (1, 3, 8, 8), [3, 8, 8], torch.Size([2, 3, 8, 8])])
def test_the_size_may_have_the_batch_or_not(size):
    assert cnnlab.summary(nn.Conv2d(3, 4, 3), size).rows[1].output[1:] == (4, 6, 6)


@pytest.mark.parametrize("size", [(), (1, 2, 3, 4, 5), (3, 0, 8), 8, None, "28", torch.zeros(1, 3, 8, 8)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=r"^input_size is \(C, H, W\) or"):
        cnnlab.summary(nn.Conv2d(3, 4, 3), size)


def test_a_size_that_the_model_does_not_take_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="^Linear does not take an input of size 4 in a batch of 2: RuntimeError: "):
        cnnlab.summary(nn.Linear(3, 3), (2, 4))
    with pytest.raises(ValueError, match="^Sequential does not take an input of size 3×32×32 in a batch of 1: "):
        cnnlab.summary(vgg16(), (3, 32, 32))


@pytest.mark.parametrize("model", [nn.Linear, lambda x: x, None])
def test_only_a_module_is_taken(model):
    with pytest.raises(TypeError, match="^summary takes a torch.nn.Module, not "):
        cnnlab.summary(model, (3,))


def test_torch_is_imported_for_nothing_else_and_asked_for_in_one_sentence():
    code = ("import sys; sys.modules['torchinfo'] = None; import cnnlab; cnnlab.summary; "
            "print('torch' in sys.modules)\ntry: cnnlab.summary(1, 2)\nexcept ModuleNotFoundError as e: print(e)")
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env={"PYTHONPATH": str(ROOT)})
    assert out.startswith("False\ncnnlab.summary needs torchinfo, which is not installed; run `")
    assert "pip install" in out
