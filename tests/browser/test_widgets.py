"""The widgets in a real browser: their arithmetic against PyTorch, the keyboard, the mouse, a finger, JupyterLab."""

from __future__ import annotations

import json

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autograder.sources import KERNELSPEC
from cnnlab import widgets
from cnnlab.widgets.shown import FOLDER
from tests.browser.conftest import SCREENSHOTS
from tests.browser.test_lab import cell, run

PLACE = "http://widgets.test"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>a widget</title>
<body style="background: {background}; color: {colour}; font-family: sans-serif"><div id="here"></div>
<script type="module">
import {{ mount }} from "./static.js";
const data = {data};
if (data) await mount(document.getElementById("here"), data);
window.ready = true;
</script>"""


@pytest.fixture
def show(page):
    """`show(widget)` puts a widget on a page as the website does; returns the page.  No error may be logged."""
    said = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: said.append(str(e)))

    def on_page(widget=None, width=1000, dark=False):
        bundle = widget._repr_mimebundle_()[0] if widget else {}
        html = PAGE.format(data=json.dumps(bundle.get("application/vnd.cnnlab.widget+json")),
                           background="#14181e" if dark else "white", colour="#ced6dd" if dark else "#222")

        def answer(route):
            name = route.request.url.removeprefix(f"{PLACE}/")
            if name:
                route.fulfill(path=FOLDER / name, content_type="text/javascript; charset=utf-8")
            else:
                route.fulfill(body=html, content_type="text/html; charset=utf-8")

        page.unroute_all()
        page.route("**/*", answer)
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{PLACE}/")
        page.wait_for_function("window.ready")
        return page

    yield on_page
    assert said == []


def field(page, name):
    return page.get_by_role("spinbutton", name=name, exact=True)


def numbers(page, label):
    """The numbers in the cells of a grid, as it is drawn."""
    texts = page.locator(f'svg[aria-label^="{label}"] [role=row]').evaluate_all(
        "rows => rows.map(row => [...row.children].map(cell => cell.querySelector('text')?.textContent ?? 'nan'))")
    return np.array([[float(t.replace("−", "-").replace("∞", "inf")) for t in row] for row in texts])


def lines(page):
    return page.locator(".cnnlab-said p").all_inner_texts()


def aloud(page):
    return page.get_by_role("status").inner_text()


def tab_to(page, locator):
    """Press Tab until the element has the focus, as somebody without a mouse does."""
    for _ in range(100):
        if locator.evaluate("e => e === document.activeElement"):
            assert locator.evaluate("e => e.matches(':focus-visible') && getComputedStyle(e).outlineStyle === 'solid'")
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab does not get there")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


# ---------------------------------------------------------------------------- arithmetic

def settings(count, seed):
    """Random sizes, kernels, strides, paddings and dilations, with which at least one window fits."""
    random, found = np.random.default_rng(seed), []
    while len(found) < count:
        size, taps = random.integers(1, 10, 2).tolist(), random.integers(1, 5, 2).tolist()
        setting = dict(zip(("stride", "padding", "dilation"), map(int, random.integers((1, 0, 1), (5, 4, 4)))))
        if all(n + 2 * setting["padding"] > setting["dilation"] * (k - 1) for n, k in zip(size, taps)):
            found.append((random.integers(-9, 10, size), random.integers(-4, 5, taps), setting))
    return found


def call(page, function, arguments):
    """function(*a) for each `a` of arguments, in the module arithmetic.js."""
    return page.evaluate("""async ([name, all]) => {
        const module = await import('./arithmetic.js');
        return all.map((one) => module[name](...one));
    }""", [function, arguments])


def test_convolution_and_its_gradient_are_torchs(show):
    cases = settings(80, seed=1)
    page, random = show(), np.random.default_rng(2)
    got = call(page, "convolve", [[x.tolist(), k.tolist(), s] for x, k, s in cases])
    upstream = [random.integers(-5, 6, np.shape(y)) for y in got]
    back = call(page, "inputGradient",
                [[dy.tolist(), k.tolist(), x.shape, s] for (x, k, s), dy in zip(cases, upstream)])
    for (x, k, setting), y, dy, dx in zip(cases, got, upstream, back):
        given = torch.tensor(x[None, None], dtype=torch.float64, requires_grad=True)
        expected = F.conv2d(given, torch.tensor(k[None, None], dtype=torch.float64), **setting)
        expected.backward(torch.tensor(dy[None, None], dtype=torch.float64))
        np.testing.assert_array_equal(y, expected[0, 0].detach())
        np.testing.assert_array_equal(dx, given.grad[0, 0])


@pytest.mark.parametrize("kind", ["max", "average", "L2"])
def test_pooling_and_its_gradient_are_torchs(show, kind):
    random, cases = np.random.default_rng(3), []
    for _ in range(60):
        window = int(random.integers(1, 5))
        setting = {"stride": int(random.integers(1, 5)), "padding": int(random.integers(0, window // 2 + 1))}
        x = random.integers(-3, 4, random.integers(window, 9, 2))  # small numbers: many ties
        cases.append((x, window, setting))
    got = call(show(), "pool", [[x.tolist(), kind, window, setting] for x, window, setting in cases])
    for (x, window, setting), result in zip(cases, got):
        given = torch.tensor(x[None, None], dtype=torch.float64, requires_grad=True)
        if kind == "L2":
            ring = F.pad(given, [setting["padding"]] * 4)
            expected = F.avg_pool2d(ring**2, window, setting["stride"], divisor_override=1).clamp(min=1e-300).sqrt()
        else:
            expected = {"max": F.max_pool2d, "average": F.avg_pool2d}[kind](given, window, **setting)
        expected.sum().backward()
        np.testing.assert_allclose(result["output"], expected[0, 0].detach(), atol=1e-12)
        np.testing.assert_allclose(result["gradient"], given.grad[0, 0], atol=1e-12)


def test_sizes_and_receptive_fields_are_what_a_stack_gives_and_reads(show):
    random, cases = np.random.default_rng(4), []
    for _ in range(12):
        names = ("kernel", "stride", "padding", "dilation")
        layers = [dict(zip(names, map(int, random.integers((1, 1, 0, 1), (5, 3, 3, 3)))))
                  for _ in range(random.integers(1, 5))]
        cases.append((int(random.integers(70, 100)), layers))
    for (size, layers), rows in zip(cases, call(show(), "follow", cases)):
        x = torch.zeros(1, 1, size, requires_grad=True)
        y = x
        for layer, row in zip(layers, rows):
            room = y.shape[-1] + 2 * layer["padding"] - layer["dilation"] * (layer["kernel"] - 1) - 1
            kernel = torch.ones(1, 1, layer["kernel"])
            y = F.conv1d(y, kernel, None, layer["stride"], layer["padding"], layer["dilation"])
            assert (row["size"], row["dropped"]) == (y.shape[-1], room % layer["stride"])
        unit = y.shape[-1] // 2                      # far from the border
        y[0, 0, unit].backward()
        read = x.grad[0, 0].nonzero().ravel()
        assert row["field"] == read[-1] - read[0] + 1
        assert row["centre"] + unit * row["jump"] == (read[0] + read[-1]) / 2


def test_the_stacks_of_the_papers_end_where_they_should(show):
    ends = {"LeNet-5": (1, 32), "AlexNet": (6, 195), "VGG-16": (7, 212)}
    for name, (size, field) in ends.items():
        page = show(widgets.sizes(name))
        assert page.locator("tr.cnnlab-chosen td").all_inner_texts()[4:7:2] == [str(size), str(field)]


# ---------------------------------------------------------------------------- by keyboard alone

def test_the_convolution_explorer_by_keyboard(show):
    page = show(widgets.convolution(np.arange(20).reshape(4, 5), [[1, 0], [0, -2]]))
    tab_to(page, field(page, "padding"))
    press(page, "ArrowUp")
    tab_to(page, page.get_by_role("grid", name="input"))
    press(page, "ArrowUp", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight")
    assert lines(page)[:3] == ["y[0, 1] = Σ x[0·1 + a·1 − 1, 1·1 + b·1 − 1] · k[a, b] = −2",
                               "Rows −1, 0, columns 0, 1 of the input; 2 of the 4 pixels lie in the padding and count "
                               "as 0.",
                               "0·1 + 0·0 + 0·0 + 1·(−2) = −2"]
    assert aloud(page) == ("Output row 0, column 1 is −2. It reads rows −1, 0 and columns 0, 1; 2 of the 4 pixels lie "
                           "in the padding and count as 0.")
    tab_to(page, field(page, "kernel row 0, column 1"))
    press(page, "ArrowUp", "ArrowUp", "ArrowUp", "Tab", "5")  # now [[1, 3], [5, -2]]
    x = F.pad(torch.arange(20.0).view(1, 1, 4, 5), [1] * 4)
    expected = F.conv2d(x, torch.tensor([[[[1.0, 3], [5, -2]]]]))[0, 0]
    np.testing.assert_array_equal(numbers(page, "output"), expected)
    assert page.get_by_role("grid", name="output").get_attribute("aria-activedescendant") == page.locator(
        "[aria-label=output] [aria-selected=true]").get_attribute("id")


def test_the_window_stays_where_windows_fit(show):
    page = show(widgets.convolution(padding=1))
    page.get_by_role("grid", name="output").focus()
    press(page, *["ArrowDown", "ArrowRight"] * 9)
    assert lines(page)[0].startswith("y[6, 6]")
    field(page, "stride").fill("3")
    press(page, "Tab")
    assert lines(page)[0].startswith("y[2, 2]") and numbers(page, "output").shape == (3, 3)
    field(page, "stride").fill("4")
    press(page, "Tab")
    assert lines(page)[0].startswith("y[1, 1]") and numbers(page, "output").shape == (2, 2)
    assert lines(page)[-1] == "Not read, as the stride does not fit: the last 2 rows and 2 columns of the padded input."
    field(page, "padding").fill("0")
    field(page, "dilation").fill("4")
    press(page, "Tab")
    assert lines(page) == ["No window fits: the kernel reaches over 9 rows, and the padded input has 7."]
    page.get_by_role("button", name="Start again").press("Enter")
    assert numbers(page, "output").shape == (7, 7)


def test_the_backward_overlay_by_keyboard(show):
    page = show(widgets.backward((4, 4), 3, stride=1))
    tab_to(page, page.get_by_role("grid", name="input"))
    press(page, *["ArrowUp"] * 4, *["ArrowLeft"] * 4, "ArrowRight")
    assert lines(page)[0] == "dx[0,1] = k[0,1]·dy[0,0] + k[0,0]·dy[0,1]"
    assert aloud(page) == "Pixel row 0, column 1 touches 2 outputs: y[0,0] through k[0,1]; y[0,1] through k[0,0]."
    assert page.locator('[aria-label="output"] [aria-label*="through"]').evaluate_all(
        "cells => cells.map((cell) => cell.textContent)") == ["k₀₁", "k₀₀"]
    np.testing.assert_array_equal(numbers(page, "input"), np.outer([1, 2, 2, 1], [1, 2, 2, 1]))
    tab_to(page, page.get_by_role("grid", name="output"))
    press(page, "ArrowDown")
    assert lines(page)[0].startswith("y[1,1] = k[0,0]·x[1,1] + k[0,1]·x[1,2]") and lines(page)[0].count("k[") == 9


def test_the_pooling_explorer_by_keyboard(show):
    image = np.array([[1, 5, 0, 2], [3, 5, -1, 4], [0, 0, 7, 1], [2, 1, 3, 7]])
    page = show(widgets.pooling(image))
    tab_to(page, page.get_by_role("grid", name="input"))
    press(page, "ArrowDown", "ArrowRight")
    assert lines(page)[0] == "y[1, 1] = max(7, 1, 3, 7) = 7"
    assert aloud(page).endswith("The gradient of this output goes to row 2, column 2 alone.")  # the first of equals
    np.testing.assert_array_equal(np.argwhere(numbers(page, "gradient")), [[0, 1], [1, 3], [2, 2], [3, 0]])
    assert page.locator("[aria-label^=input] circle").count() == 4
    tab_to(page, field(page, "padding"))
    press(page, "ArrowUp")
    page.get_by_role("combobox", name="pooling").select_option("average")
    expected = F.avg_pool2d(torch.tensor(image[None, None] * 1.0), 2, 2, 1)[0, 0]
    np.testing.assert_allclose(numbers(page, "output"), expected, atol=0.005)


def test_the_calculator_by_keyboard(show):
    page = show(widgets.sizes([(3, 2, 0)], size=8))
    tab_to(page, field(page, "kernel of layer 1"))
    assert lines(page)[0] == ("layer 1: (8 + 2·0 − 1·(3 − 1) − 1)/2 + 1 = 2.5 + 1, rounded down: 3. The last 1 of the "
                              "8 padded pixels is not read.")
    page.get_by_role("button", name="Add a layer").press("Enter")
    assert field(page, "kernel of layer 2").evaluate("e => e === document.activeElement")
    press(page, "ArrowUp", "ArrowUp")  # a kernel of 5, padding 1, on 3 pixels
    assert aloud(page) == "layer 2: size 1, receptive field 11, jump 2, centre 3."
    tab_to(page, page.get_by_role("button", name="remove layer 2"))
    press(page, "Enter")
    assert page.locator("tbody tr").count() == 1
    page.get_by_role("combobox", name="stack").select_option("VGG-16")
    assert page.locator("tbody tr").count() == 18


def test_the_architecture_browser_by_keyboard(show):
    page = show(widgets.architecture("resnet50"))
    row = page.get_by_role("listbox", name="stages")
    tab_to(page, row.get_by_role("option", selected=True))
    press(page, "End")
    assert lines(page)[:2] == ["fc: 1000", "linear"]
    assert aloud(page) == "fc: 1000, 2,049,000 parameters, 2,048,000 multiply-adds"
    press(page, "ArrowLeft", "ArrowLeft")
    assert lines(page)[0] == "conv5_x.2: 2048×7×7"
    assert lines(page)[-1] == "resnet50 in all: 25,557,032 parameters, 3,857,973,248 multiply-adds"
    page.get_by_role("combobox", name="network").select_option("alexnet")
    assert row.get_by_role("option").count() == 14


# ---------------------------------------------------------------------------- mouse and finger

def middle(page, label, at):
    box = page.locator(f'svg[aria-label^="{label}"] [data-at="{at}"]').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_window_is_dragged_and_an_output_is_clicked(show):
    page = show(widgets.convolution(padding=1, stride=2))
    page.mouse.move(*middle(page, "input", "0,0"))
    page.mouse.down()
    assert lines(page)[0].startswith("y[0, 0]")
    page.mouse.move(*middle(page, "input", "4,2"))
    assert lines(page)[0].startswith("y[2, 1]")
    page.mouse.up()
    page.mouse.move(*middle(page, "input", "0,6"))
    assert lines(page)[0].startswith("y[2, 1]")
    page.mouse.click(*middle(page, "output", "3,2"))
    assert lines(page)[0].startswith("y[3, 2]")


def test_a_pixel_is_pointed_at_and_a_block(show):
    page = show(widgets.backward((5, 5), 3, stride=3))
    page.mouse.move(*middle(page, "input", "4,4"))
    assert lines(page) == ["dx[4,4] = 0", "No window reads x[4,4], so the loss does not depend on it."]
    page.mouse.move(*middle(page, "output", "0,0"))
    assert lines(page)[0].startswith("y[0,0]")
    page = show(widgets.architecture("lenet"))
    page.get_by_role("option", name="features.0").hover()
    assert lines(page)[0] == "features.0: 6×28×28"


def test_a_finger_moves_the_window_on_a_narrow_screen(show):
    page = show(widgets.convolution(np.arange(144).reshape(12, 12)), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    x, y = middle(page, "input", "11,11")
    page.locator("svg[aria-label^=input]").evaluate("""(svg, [x, y]) => {
        svg.setPointerCapture = () => {};
        for (const type of ['pointerdown', 'pointerup'])
            svg.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: y, pointerType: 'touch', bubbles: true }));
    }""", [x, y])
    assert lines(page)[0].startswith("y[9, 9]")


# ---------------------------------------------------------------------------- looks, and JupyterLab

@pytest.mark.parametrize("make", [widgets.convolution, widgets.sizes, widgets.backward, widgets.pooling,
                                  lambda: widgets.architecture("resnet50")],
                         ids=["convolution", "sizes", "backward", "pooling", "architecture"])
def test_they_fit_a_narrow_screen_and_a_dark_page(show, make):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    widget = make()
    for name, width, dark in [("light", 900, False), ("dark", 900, True), ("narrow", 340, False)]:
        page = show(widget, width, dark)
        page.screenshot(path=SCREENSHOTS / f"widget-{widget.module}-{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.locator(".cnnlab-said p, svg text").evaluate_all(
            "all => [...new Set(all.map(e => getComputedStyle(e).fill + getComputedStyle(e).color))]")
        assert all(("206, 214, 221" if dark else "34, 34, 34") in colour for colour in colours)


def test_jupyterlab_shows_it_and_python_gets_what_the_reader_made_of_it(page, lab, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell("from cnnlab import widgets\nexplorer = widgets.convolution(padding=1)\nexplorer"),
        nbformat.v4.new_code_cell("print('at', explorer.state['at'])")], metadata={"kernelspec": KERNELSPEC})
    nbformat.write(notebook, tmp_path / "widget.ipynb")
    elsewhere = []
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:"))
            else None)
    page.goto(f"{lab(tmp_path)}/lab/tree/widget.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run(page, cell(page, "explorer = "))
    grid = page.get_by_role("grid", name="input")
    grid.wait_for()
    np.testing.assert_array_equal(numbers(page, "output").shape, (7, 7))
    grid.focus()
    press(page, "ArrowDown", "ArrowDown", "ArrowLeft")  # not taken by JupyterLab, which moves between cells with them
    assert lines(page)[0].startswith("y[5, 2]")
    assert grid.evaluate("e => e === document.activeElement")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "widget-lab.png")
    run(page, cell(page, "print('at'"))
    page.get_by_text("at [5, 2]").wait_for()
    assert not [u for u in elsewhere if "ws://127.0.0.1" not in u]
