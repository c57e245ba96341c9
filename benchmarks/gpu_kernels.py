"""What Triton makes of the convolution kernels on a Hopper GPU, read from the machine code: no GPU is needed.

    python -m benchmarks.gpu_kernels

compiles every tile that is worth measuring for the fourteen layers of `benchmarks.gpu_conv` (about 200 kernels, a few
minutes; Triton keeps them) and prints, for each: registers a thread and bytes of stack (0, or registers were too few),
shared memory, tensor core instructions with both factors in shared memory (wgmma) or one in registers, older ones
(mma), and fetches by the copy engine (TMA).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
import triton
from rich.console import Console
from rich.table import Table
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from benchmarks.gpu_conv import LAYERS, PASSES, Layer, label
from solutions.gpu.kernels.fast import conv2d as fast
from solutions.gpu.kernels.fast import launch, tiles, tuning

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Hopper:
    """As much of Triton's driver as a compilation asks for."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


@contextmanager
def compiling() -> Iterator[list]:
    """In the block launches on CPU tensors only compile, every candidate; the list fills with (tile, kernel)."""
    kernels, tile, run = [], [None], triton.JITFunction.run
    candidates, parts = tiles.candidates, tiles.parts

    def compile_only(self, *args, warmup, **kwargs):
        kernels.append((tile[0], run(self, *args, warmup=True, **kwargs)))

    def choose(kernel, what, choices, run):
        for choice in choices:
            tile[0] = choice
            run(choice)
        return choices[0]

    def on_gpu(x):
        return SimpleNamespace(is_cuda=True, element_size=x.element_size)

    with patch.object(driver, "_active", Hopper()), patch.object(
            triton.JITFunction, "run", compile_only), patch.object(tuning, "choose", choose), patch.multiple(
            tiles, multiprocessors=lambda x: 132,
            candidates=lambda filters, channels, x, *more: candidates(filters, channels, on_gpu(x), *more),
            parts=lambda *sizes: parts(*sizes[:-1], on_gpu(sizes[-1]))), patch.object(
            launch, "arithmetic", lambda x: {"PRECISION": "tf32", "WIDEN": False}):
        yield kernels


def compiled(layer: Layer, way: str, dtype: torch.dtype = torch.bfloat16) -> list[dict]:
    """What each tile of one pass of a layer needs: of every different kernel, a row."""
    N, C, H, K, R, stride, padding = layer
    x, weight, dy = (torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
                     for shape in ((N, C, H, H), (K, C, R, R), (N, K, layer.P, layer.P)))
    with compiling() as kernels:
        if way == "forward":
            fast.conv2d(x, weight, None, stride, padding)
        elif way == "grad_input":
            fast.conv2d_grad_input(dy, weight, (H, H), stride, padding)
        else:
            fast.conv2d_grad_weight(dy, x, (R, R), stride, padding)
    different = {}
    for tile, kernel in kernels:
        different.setdefault(kernel.hash, (tile, kernel))  # tiles that differ in the grid alone are one
    return [needs(kernel) | {"tile": list(tile or ())} for tile, kernel in different.values()]


def needs(kernel) -> dict:
    """Registers, stack, shared memory, and how many of which instructions."""
    ptx = kernel.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True,
                               check=True).stdout
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())
    from_registers = len(re.findall(r"wgmma\.mma_async\S+\s+\{[^}]*\},\s*\{", ptx))
    return {"kernel": kernel.metadata.name, "registers": registers, "stack": stack, "shared": kernel.metadata.shared,
            "wgmma": ptx.count("wgmma.mma_async") - from_registers, "wgmma_registers": from_registers,
            "mma": ptx.count("mma.sync"), "tma": ptx.count("cp.async.bulk.tensor")}


def main() -> None:
    console = Console(width=150)
    for layer in LAYERS:
        table = Table("kernel", "tile", "registers", "stack", "shared", "wgmma", "of registers", "mma", "TMA",
                      title=label(layer))
        for way in PASSES:
            for row in compiled(layer, way):
                table.add_row(row["kernel"], label(row["tile"]), *(str(row[key]) for key in (
                    "registers", "stack", "shared", "wgmma", "wgmma_registers", "mma", "tma")))
        console.print(table)


if __name__ == "__main__":
    main()
