"""What Python gives a notebook of a widget: its state, a still figure, and nothing while nbgrader grades."""

import base64
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbconvert import HTMLExporter
from torch import nn

from autograder.solutions import execute
from autograder.sources import KERNELSPEC
from cnnlab import summary, widgets
from cnnlab.widgets import shown
from cnnlab.widgets.stages import known, stages

ALL = {"convolution": lambda: widgets.convolution(padding=1, dilation=2),
       "sizes": lambda: widgets.sizes([(3, 1, 1), (2, 2)], size=32),
       "backward": lambda: widgets.backward((5, 6), (2, 3), stride=2, padding=1),
       "pooling": lambda: widgets.pooling(window=3, stride=2, padding=1, kind="L2"),
       "architecture": lambda: widgets.architecture("resnet50")}


@pytest.mark.parametrize("module", ALL)
def test_the_output_holds_the_state_for_the_website_and_a_still_figure(module):
    bundle, about = ALL[module]()._repr_mimebundle_()
    data = json.loads(json.dumps(bundle["application/vnd.cnnlab.widget+json"]))
    assert data["module"] == module and (shown.FOLDER / f"{module}.js").is_file()
    assert data == bundle["application/vnd.cnnlab.widget+json"]  # plain lists, numbers and strings
    png = base64.b64decode(bundle["image/png"])
    assert png.startswith(b"\x89PNG") and len(png) < 60_000 and len(about["image/png"]["alt"]) > 20
    assert len(json.dumps(data)) < 40_000
    assert plt.get_fignums() == []


@pytest.mark.parametrize("module", ALL)
def test_while_nbgrader_grades_nothing_is_drawn(module, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert list(ALL[module]()._repr_mimebundle_()[0]) == ["text/plain"]


def test_without_anywidget_and_ipython_kernel_the_still_figure_is_shown():
    code = ("import sys; sys.modules['anywidget'] = sys.modules['torch'] = None; from cnnlab import widgets; "
            "from cnnlab.widgets import shown; shown._in_kernel = lambda: True; "
            "print(sorted(widgets.convolution()._repr_mimebundle_()[0]))")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stdout == "['application/vnd.cnnlab.widget+json', 'image/png', 'text/plain']\n", done.stderr


def test_in_a_kernel_anywidget_shows_it_and_what_the_reader_changes_is_the_state(monkeypatch):
    pytest.importorskip("anywidget")
    monkeypatch.setattr(shown, "_in_kernel", lambda: True)
    widget = widgets.convolution()
    first, second = (widget._repr_mimebundle_()[0]["application/vnd.jupyter.widget-view+json"] for _ in range(2))
    assert first == second  # one model, however often it is displayed
    widget._live.state = {**widget.state, "stride": 2}
    assert widget.state["stride"] == 2


def test_what_runs_for_later_readers_has_no_live_widget_but_the_figure():
    cell = nbformat.v4.new_code_cell("from cnnlab import widgets\nwidgets.pooling()")
    notebook = execute(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNELSPEC}))
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/plain", "image/png", shown.MIME}
    assert output.metadata["image/png"]["alt"] == "max pooling of 6×6 pixels: window 2, stride 2, padding 0"
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert f'src="data:image/png;base64,{output.data["image/png"].strip()[:40]}' in page


def test_a_module_for_anywidget_imports_nothing():
    for module in ALL:
        text = shown.source(module)
        assert not re.search(r"^(import|export (?!default))", text, re.MULTILINE) and "http" not in text.replace(
            "http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(("call", "says"), [
    (lambda: widgets.convolution(np.zeros((13, 3))), "image is 13×3; the widget has room for 12×12."),
    (lambda: widgets.convolution(np.zeros(3)), "image must be an array of numbers with rows and columns"),
    (lambda: widgets.convolution(stride=(2, 1)), r"stride is \(2, 1\); it must be a whole number from 1."),
    (lambda: widgets.convolution(dilation=4), "the kernel reaches over 9 pixels, and the padded input has 7."),
    (lambda: widgets.pooling(kind="mean"), "kind is 'mean'; it must be one of max, average, L2."),
    (lambda: widgets.pooling(window=2, padding=2), "padding is 2; it must be at most half of the window, 2."),
    (lambda: widgets.backward((5, 5, 5)), "it must be an int or a pair"),
    (lambda: widgets.sizes("VGG"), "There is no stack 'VGG'; there are LeNet-5, AlexNet, VGG-16."),
    (lambda: widgets.architecture("vgg"), "There is no network 'vgg' here; there are lenet, alexnet"),
])
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------------------- stages

def test_stages_are_whole_modules_and_keep_the_totals():
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)) for _ in range(20)))
    table = summary(net, (4, 8, 8))
    found = stages(table.rows)
    assert [s["name"] for s in found] == ["input", *map(str, range(20))]  # 40 layers would be too many
    assert found[1]["kind"] == "conv 3×3, pad 1; batch norm" and found[1]["output"] == [4, 8, 8]
    assert sum(s["parameters"] for s in found) == table.parameters
    assert sum(s["multiply_adds"] for s in found) == table.multiply_adds


def test_a_network_of_ones_own_can_be_browsed():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 10))
    state = widgets.architecture(summary(net, (3, 8, 8))).state
    assert [s["output"] for s in state["networks"]["Sequential"]] == [[3, 8, 8], [8, 6, 6], [10]]


def test_the_networks_that_come_along_are_those_of_the_zoo():
    from solutions.gpu.experiments import network_stages

    (row, *_), kept = network_stages.measure(["lenet", "resnet18"]), known()
    assert list(row) == ["network", "stage", "output", "kind", "parameters", "multiply_adds"]
    assert list(kept) == list(network_stages.NAMES)
    for name, blocks in kept.items():
        with torch.device("meta"):
            model = network_stages.create(name)
        assert sum(b["parameters"] for b in blocks) == sum(p.numel() for p in model.parameters())
