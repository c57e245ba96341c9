"""How fast our convolution kernels are beside cuDNN: fourteen layers, forward and both gradients, bfloat16.

    python -m benchmarks.gpu_conv [--floors]

prints tables and writes benchmarks/results/gpu_conv.json.  Fast kernels, plain kernels and cuDNN (benchmark mode) take
turns in one run, all channels-last, each recorded as a CUDA graph, so that what Python does in between is not timed;
CUDA events around each, what is in L2 overwritten before, medians.  Errors are ‖y − y₆₄‖ / ‖y₆₄‖ against float64.

With --floors no GPU is needed: it prints the two times that no version gets under, arithmetic at the tensor cores' peak
and each byte of the three tensors moved once, for an H100 SXM.  The share of the roofline is the larger over the
measured one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
from rich.console import Console
from rich.table import Table
from torch import Tensor

from solutions.gpu.kernels import conv2d as plain
from solutions.gpu.kernels.fast import conv2d as fast

RESULTS = Path(__file__).parent / "results" / "gpu_conv.json"
PASSES = "forward", "grad_input", "grad_weight"
OURS, PLAIN, CUDNN = "ours", "plain", "cudnn"
LAPS, SECONDS = 51, 2.0  # of each pass of a layer: so many, or as many as take so long, but at least 3
FLUSH = 2**28            # bytes, several times the L2 of 50 MB


class Gpu(NamedTuple):
    """What a device can do at most, by its data sheet: dense bfloat16 operations and bytes a second."""

    name: str
    operations: float
    bandwidth: float


H100, H200 = Gpu("H100 SXM", 989e12, 3.35e12), Gpu("H200", 989e12, 4.8e12)


class Layer(NamedTuple):
    """N images of C × H × H, K filters of R × R."""

    N: int
    C: int
    H: int
    K: int
    R: int
    stride: int
    padding: int

    @property
    def P(self) -> int:
        """Output rows, and columns."""
        return (self.H + 2 * self.padding - self.R) // self.stride + 1

    @property
    def operations(self) -> int:
        """Of each of the three passes: a multiplication and an addition per weight and output pixel."""
        return 2 * self.N * self.P**2 * self.K * self.C * self.R**2

    @property
    def bytes(self) -> int:
        """Of each of the three passes: two tensors are read, one is written, in 2 bytes a value."""
        return 2 * (self.N * self.C * self.H**2 + self.N * self.K * self.P**2 + self.K * self.C * self.R**2)

    def floors(self, gpu: Gpu) -> tuple[float, float]:
        """Seconds for the arithmetic, and for the bytes."""
        return self.operations / gpu.operations, self.bytes / gpu.bandwidth


LAYERS = [Layer(*sizes) for sizes in (
    (128, 3, 227, 96, 11, 4, 0), (128, 96, 27, 256, 5, 1, 2), (128, 256, 13, 384, 3, 1, 1), (32, 64, 224, 64, 3, 1, 1),
    (32, 256, 56, 256, 3, 1, 1), (32, 512, 14, 512, 3, 1, 1), (128, 3, 224, 64, 7, 2, 3), (128, 256, 56, 64, 1, 1, 0),
    (128, 64, 56, 64, 3, 1, 1), (128, 128, 56, 128, 3, 2, 1), (128, 256, 14, 256, 3, 1, 1),
    (128, 256, 14, 1024, 1, 1, 0), (128, 512, 7, 512, 3, 1, 1), (128, 16, 28, 32, 5, 1, 2))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--floors", action="store_true", help="only what the arithmetic and the bytes take at least")
    if parser.parse_args().floors:
        Console(width=100).print(floors_table(LAYERS, H100))
        return
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (9, 0):
        raise SystemExit("python -m benchmarks.gpu_conv needs an NVIDIA GPU of compute capability 9.0, an H100 or "
                         "H200; --floors needs none.")
    torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name()
    gpu = H200 if "H200" in name else H100
    rows = [compare(layer, way, gpu, "cuda", time_on_gpu) for layer in LAYERS for way in PASSES]
    figures = {"geometric_mean_ratio_to_cudnn": means(rows), "layers": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures | {
        "command": "python -m benchmarks.gpu_conv", "date": time.strftime("%Y-%m-%d"), "device": name,
        "peaks": gpu._asdict(), "dtype": "bfloat16, channels-last", "torch": torch.__version__,
        "triton": triton.__version__, "cudnn": torch.backends.cudnn.version()}, indent=1) + "\n")
    show(rows)


def compare(layer: Layer, way: str, gpu: Gpu, device: str, stopwatch: Callable) -> dict:
    """One pass of one layer: times, rates, and errors of ours, the plain one and PyTorch's."""
    calls, exact = contestants(layer, way, device)
    errors = {who: error(call(), exact) for who, call in calls.items()}
    del exact
    seconds = dict(zip(calls, stopwatch(list(calls.values())), strict=True))
    floors = layer.floors(gpu)
    return {"layer": layer._asdict(), "pass": way, **{f"{who}_us": round(1e6 * s, 2) for who, s in seconds.items()},
            "ratio_to_cudnn": round(seconds[CUDNN] / seconds[OURS], 3),
            "plain_ratio_to_cudnn": round(seconds[CUDNN] / seconds[PLAIN], 3),
            "tflops": round(layer.operations / seconds[OURS] / 1e12, 1),
            "gb_per_s": round(layer.bytes / seconds[OURS] / 1e9, 1),
            "arithmetic_floor_us": round(1e6 * floors[0], 2), "bytes_floor_us": round(1e6 * floors[1], 2),
            "share_of_roofline": round(max(floors) / seconds[OURS], 3),
            **{f"{who}_error": float(f"{e:.3g}") for who, e in errors.items()}}


def contestants(layer: Layer, way: str, device: str) -> tuple[dict[str, Callable[[], Tensor]], Tensor]:
    """What is called for ours, the plain one and PyTorch's, on the same random tensors; and the result in float64."""
    torch.manual_seed(0)
    N, C, H, K, R, stride, padding = layer
    x, weight, dy = (torch.randn(shape, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
                     for shape in ((N, C, H, H), (K, C, R, R), (N, K, layer.P, layer.P)))
    settings = stride, padding

    def backward(x, weight, dy):
        mask = [way == "grad_input", way == "grad_weight", False]
        grads = torch.ops.aten.convolution_backward(dy, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False,
                                                    [0, 0], 1, mask)
        return grads[mask.index(True)]

    def forward(x, weight, dy):
        return F.conv2d(x, weight, None, *settings)

    def ours(kernels):
        return {"forward": lambda: kernels.conv2d(x, weight, None, *settings),
                "grad_input": lambda: kernels.conv2d_grad_input(dy, weight, (H, H), *settings),
                "grad_weight": lambda: kernels.conv2d_grad_weight(dy, x, (R, R), *settings)}[way]

    theirs = forward if way == "forward" else backward
    calls = {OURS: ours(fast), PLAIN: ours(plain), CUDNN: lambda: theirs(x, weight, dy)}
    return calls, theirs(*(t.double().contiguous() for t in (x, weight, dy)))


def error(result: Tensor, exact: Tensor) -> float:
    """‖result − exact‖ / ‖exact‖."""
    return (torch.linalg.vector_norm(result.double() - exact) / torch.linalg.vector_norm(exact)).item()


def time_on_gpu(calls: list[Callable]) -> list[float]:
    """The median seconds of each call, in turns."""
    graphs, flush = [record(call) for call in calls], torch.empty(FLUSH, dtype=torch.int8, device="cuda")
    laps, begin = [], time.monotonic()
    while len(laps) < 3 or len(laps) < LAPS and time.monotonic() - begin < SECONDS:
        laps.append([lap(graph, flush) for graph in graphs])
    return [statistics.median(turns) for turns in zip(*laps, strict=True)]


def record(call: Callable) -> torch.cuda.CUDAGraph:
    """The kernels of a call, to be run again without Python; sizes and algorithms are chosen before."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def lap(graph: torch.cuda.CUDAGraph, flush: Tensor) -> float:
    flush.zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def means(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Of each pass, the geometric mean and the least of the ratios to cuDNN, and the largest error over cuDNN's."""
    found = {}
    for way in PASSES:
        some = [row for row in rows if row["pass"] == way]
        ratios = [row["ratio_to_cudnn"] for row in some]
        found[way] = {"ours": round(statistics.geometric_mean(ratios), 3), "least": min(ratios),
                      "plain": round(statistics.geometric_mean(row["plain_ratio_to_cudnn"] for row in some), 3),
                      "largest_error_ratio": round(max(row["ours_error"] / row["cudnn_error"] for row in some), 2)}
    return found


def show(rows: list[dict]) -> None:
    console = Console(width=130)
    for way in PASSES:
        console.print(results_table([row for row in rows if row["pass"] == way], way))
    for way, mean in means(rows).items():
        console.print(f"{way}: cuDNN's time over ours {mean['ours']:.2f} (geometric mean), {mean['least']:.2f} at "
                      f"least; plain kernels {mean['plain']:.2f}; error at most {mean['largest_error_ratio']:.2f} of "
                      "cuDNN's")


def results_table(rows: list[dict], title: str) -> Table:
    table = Table("N, C, H, K, R, stride, padding", *(
        "ours µs", "plain µs", "cuDNN µs", "ratio", "TFLOP/s", "GB/s", "of roofline", "error", "cuDNN's"), title=title)
    for row in rows:
        table.add_row(label(row["layer"].values()), f"{row['ours_us']:.1f}", f"{row['plain_us']:.1f}",
                      f"{row['cudnn_us']:.1f}", f"{row['ratio_to_cudnn']:.2f}", f"{row['tflops']:.0f}",
                      f"{row['gb_per_s']:.0f}", f"{row['share_of_roofline']:.0%}", f"{row['ours_error']:.1e}",
                      f"{row['cudnn_error']:.1e}")
    return table


def floors_table(layers: list[Layer], gpu: Gpu) -> Table:
    table = Table("N, C, H, K, R, stride, padding", "GFLOP", "MB", "arithmetic µs", "bytes µs", "limited by",
                  title=f"floors on an {gpu.name}: {gpu.operations / 1e12:.0f} TFLOP/s, {gpu.bandwidth / 1e12} TB/s")
    for layer in layers:
        arithmetic, moved = layer.floors(gpu)
        table.add_row(label(layer), f"{layer.operations / 1e9:.2f}", f"{layer.bytes / 1e6:.1f}",
                      f"{1e6 * arithmetic:.1f}", f"{1e6 * moved:.1f}", "arithmetic" if arithmetic > moved else "bytes")
    return table


def label(sizes) -> str:
    return ", ".join(map(str, sizes))


if __name__ == "__main__":
    main()
