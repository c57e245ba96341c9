"""How fast cnnlab.layers is beside torch: the layers of LeNet, AlexNet and VGG-16, float32, on the same cores.

    python -m benchmarks.layers [--quick]

prints a table and writes build/reports/layers.json.  Forward and backward (dx, and the gradients of weight and bias) of
each convolution, pooling and fully connected layer, the two libraries in turn, medians after a warm-up (and the fastest
laps, which a busy machine disturbs less).  Both are given the same arrays, once with the pixels of a channel side by
side in memory (torch's default) and once with the channels of a pixel (torch.channels_last).  Then the whole networks,
activations and all, from images to dx.  Peak memory is that of all arrays while the first layers of VGG run forward and
backward.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
import tracemalloc

import numpy as np
import threadpoolctl
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from autograder import sources
from cnnlab import layers

RESULTS = sources.ROOT / "build" / "reports" / "layers.json"
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SETTLE = 0.03  # seconds: what threads of the one library still spin for is not to slow down the other
MEMORY = "first layers of VGG-16 (conv 3-64, ReLU, conv 64-64, ReLU), 224x224, batch 8, float32, forward and backward"


def vgg(numbers):
    """VGG's convolutions: a number is the channels of a 3x3 convolution, "M" a pooling."""
    for n in numbers:
        yield from [nn.MaxPool2d(2)] if n == "M" else [nn.LazyConv2d(n, 3, padding=1), nn.ReLU()]


def lenet():
    return [nn.LazyConv2d(6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.LazyConv2d(16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.LazyConv2d(120, 5), nn.Tanh(), nn.Flatten(), nn.LazyLinear(84), nn.Tanh(), nn.LazyLinear(10)]


def classifier():
    return [nn.Flatten(), nn.LazyLinear(4096), nn.ReLU(), nn.LazyLinear(4096), nn.ReLU(), nn.LazyLinear(1000)]


def alexnet():
    """As in 2012, without local response normalisation and dropout."""
    return [nn.LazyConv2d(96, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.LazyConv2d(256, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.LazyConv2d(384, 3, padding=1), nn.ReLU(), nn.LazyConv2d(384, 3, padding=1, groups=2), nn.ReLU(),
            nn.LazyConv2d(256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2), *classifier()]


def vgg16():
    return [*vgg([64, 64, "M", 128, 128, "M", *3 * [256], "M", *3 * [512], "M", *3 * [512], "M"]), *classifier()]


NETS = {"LeNet": (lenet, (64, 1, 32, 32)), "AlexNet": (alexnet, (16, 3, 227, 227)), "VGG-16": (vgg16, (4, 3, 224, 224))}
TIMED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Linear)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="LeNet and two layers of each other network, few laps")
    quick = parser.parse_args().quick
    blas = next(iter(threadpoolctl.ThreadpoolController().select(internal_api="openblas").info()), {})
    torch.set_num_threads(blas.get("num_threads", torch.get_num_threads()))
    rows, nets, load = [], {}, round(os.getloadavg()[0], 1)
    for name, (make, shape) in NETS.items():
        module, shapes = build(make, shape)
        chosen = {(str(m), s): (m, s) for m, s in zip(module, shapes) if isinstance(m, TIMED)}  # each shape once
        for m, into in list(chosen.values())[:2 if quick and name != "LeNet" else None]:
            rows.append({"net": name, "layer": label(m, into), "input": into} | compare(m, into, quick))
        if not quick or name == "LeNet":
            nets[name] = compare(module, shape, quick)
    figures = means(rows) | {"networks": nets, "layers": rows, "memory": memory()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures | {
        "quick": quick, "command": "python -m benchmarks.layers", "date": time.strftime("%Y-%m-%d"),
        "load_average_before": load, "threads": torch.get_num_threads(),
        "blas": f"OpenBLAS {blas.get('version')}, kernels for {blas.get('architecture')}",
        "torch": f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
        "device": f"{os.cpu_count()} CPU cores, {processor()}, Python {platform.python_version()}, "
                  f"NumPy {np.__version__}"}, indent=1) + "\n")
    show(figures)


def build(make, shape) -> tuple[nn.Sequential, list[tuple]]:
    """The network in torch, and the shape of what each of its layers is given."""
    module, shapes, x = nn.Sequential(*make()), [], torch.zeros(1, *shape[1:])
    for m in module:
        shapes.append((shape[0], *x.shape[1:]))
        x = m(x)
    return module, shapes


def ours(module):
    """Our layer for torch's, with the same weights."""
    if isinstance(module, nn.Sequential):
        return layers.Sequential([ours(m) for m in module])
    weights = [p.detach().numpy() for p in module.parameters()]
    if isinstance(module, nn.Conv2d):
        return layers.Conv2d(*weights, module.stride, module.padding, module.dilation, module.groups)
    kind = getattr(layers, type(module).__name__)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return kind(module.kernel_size, module.stride, module.padding)
    return kind(*weights)


def label(module, shape) -> str:
    if isinstance(module, nn.Linear):
        return f"linear {module.in_features}-{module.out_features}"
    size = f"{module.kernel_size}".strip("()").split(",")[0]
    if isinstance(module, nn.Conv2d):
        return f"conv {size}x{size} {module.in_channels}-{module.out_channels} @{shape[2]}"
    return f"{type(module).__name__[:3].lower()} pool {size}x{size} {shape[1]} @{shape[2]}"


# ---- Time ----

def compare(module, shape, quick) -> dict:
    """Medians in ms of forward and backward, torch's and ours in turn, for both orders of memory; and the ratios."""
    rng, layer, figures = np.random.default_rng(0), ours(module), {}
    with torch.no_grad():
        y_shape = module(torch.zeros(shape)).shape
    x, dy = (torch.tensor(rng.normal(size=s), dtype=torch.float32) for s in (shape, y_shape))
    for order, torchs in FORMATS.items() if len(shape) == 4 else [("contiguous", torch.contiguous_format)]:
        xs, dys = (t.contiguous(memory_format=torchs) if t.ndim == 4 else t for t in (x, dy))
        module = module.to(memory_format=torchs)
        check(module, layer, xs, dys)  # which also warms up
        turns, start = [], time.monotonic()
        while len(turns) < (3 if quick else 7) or time.monotonic() - start < (0.3 if quick else 1.5):
            turns.append((lap(run_torch, module, xs, dys), lap(run_ours, layer, xs.numpy(), dys.numpy())))
        theirs, mine = ([1e3 * statistics.median(t[who][way] for t in turns) for way in (0, 1)] for who in (0, 1))
        fastest = [min(sum(t[who]) for t in turns) for who in (0, 1)]
        figures[order] = {"torch_ms": [round(t, 3) for t in theirs], "ours_ms": [round(t, 3) for t in mine],
                          "ratio_forward": round(mine[0] / theirs[0], 3),
                          "ratio_backward": round(mine[1] / theirs[1], 3), "ratio": round(sum(mine) / sum(theirs), 3),
                          "ratio_of_fastest": round(fastest[1] / fastest[0], 3)}
    return figures


def lap(run, *what) -> tuple[float, float]:
    time.sleep(SETTLE)
    return run(*what)


def run_torch(module, x, dy) -> tuple[float, float]:
    x = x.detach().requires_grad_()
    module.zero_grad()
    start = time.perf_counter()
    y = module(x)
    between = time.perf_counter()
    y.backward(dy)
    return between - start, time.perf_counter() - between


def run_ours(layer, x, dy) -> tuple[float, float]:
    start = time.perf_counter()
    layer.forward(x)
    between = time.perf_counter()
    layer.backward(dy)
    return between - start, time.perf_counter() - between


def check(module, layer, x, dy) -> None:
    """Both compute the same, to what float32 allows.

    A network's dx is another matter: where rounding turns a ReLU or a maximum, a whole patch of dx changes.  For VGG-16
    torch's own float32 is 1e-2 of the rms off its float64 and ours 3e-2; in float64 the two agree to 1e-14.
    """
    x = x.detach().requires_grad_()
    y = module(x)
    y.backward(dy)
    for theirs, mine, most in ((y.detach(), layer.forward(x.detach().numpy()), 1e-4),
                               (x.grad, layer.backward(dy.numpy()), 0.1 if type(module) is nn.Sequential else 1e-4)):
        wrong = np.linalg.norm(theirs.numpy() - mine) / np.linalg.norm(mine)
        if not wrong < most:
            raise SystemExit(f"Ours and torch's differ by {wrong:.1e} of the rms: {module}")


def means(rows) -> dict:
    """Geometric means of the ratios, over all layers and by kind, for each order of memory."""
    def mean(rows, order, which):
        return round(math.exp(statistics.mean(math.log(r.get(order, r["contiguous"])[which]) for r in rows)), 3)

    kinds = {"all": rows} | {k: [r for r in rows if k in r["layer"]] for k in ("conv", "pool", "linear")}
    return {f"geometric_mean_{order}": {kind: {which: mean(some, order, which) for which in
                                               ("ratio", "ratio_forward", "ratio_backward", "ratio_of_fastest")}
                                        for kind, some in kinds.items() if some} for order in FORMATS}


# ---- Memory ----

def memory() -> dict:
    """What the first layers of VGG take at most, beside the size that im2col's whole matrix would have."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s).astype(np.float32) for s in ((64, 3, 3, 3), (64, 64, 3, 3))]
    first, second = (layers.Conv2d(w, padding=1) for w in weights)
    net = layers.Sequential([first, layers.ReLU(), second, layers.ReLU()])
    x = rng.normal(size=(8, 3, 224, 224)).astype(np.float32)
    tracemalloc.start()  # NumPy tells it of every array
    net.backward(net.forward(x))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"what": MEMORY, "peak_GB": round(peak / 1e9, 3), "one_array_GB": round(x.size / 3 * 64 * 4 / 1e9, 3),
            "im2col_matrix_GB": round(x.size / 3 * 64 * 9 * 4 / 1e9, 3)}


# ---- What is shown ----

def show(figures) -> None:
    table = Table("network", "layer", "torch ms", "ours ms", "ratio", "forward", "backward", "ratio, channels last",
                  title="forward + backward beside torch")
    rows = [(r["net"], r["layer"], r) for r in figures["layers"]]
    rows += [(name, "whole network", r) for name, r in figures["networks"].items()]
    for net, layer, r in rows:
        c = r["contiguous"]
        table.add_row(net, layer, f"{sum(c['torch_ms']):.2f}", f"{sum(c['ours_ms']):.2f}", f"{c['ratio']:.2f}",
                      f"{c['ratio_forward']:.2f}", f"{c['ratio_backward']:.2f}",
                      f"{r['channels_last']['ratio']:.2f}" if "channels_last" in r else "")
    console = Console(width=130)
    console.print(table)
    for order in FORMATS:
        console.print(f"geometric means, {order}: " + ", ".join(
            f"{kind} {m['ratio']:.2f} (forward {m['ratio_forward']:.2f}, backward {m['ratio_backward']:.2f}, "
            f"fastest laps {m['ratio_of_fastest']:.2f})"
            for kind, m in figures[f"geometric_mean_{order}"].items()))
    console.print(f"peak memory of arrays: {figures['memory']['peak_GB']} GB for the {MEMORY}; "
                  f"im2col's matrix for the second alone: {figures['memory']['im2col_matrix_GB']} GB")


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
