"""The fast kernels become the code they are written for, which Triton's compiler shows without a GPU."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys, torch
from benchmarks.gpu_conv import PASSES, Layer
from benchmarks.gpu_kernels import compiled
print(json.dumps({f"{way} of {sizes}": compiled(Layer(*sizes), way, getattr(torch, dtype))
                  for dtype, sizes in json.loads(sys.argv[1]) for way in PASSES}))
"""
LAYERS = [("bfloat16", (128, 64, 14, 64, 3, 1, 1)), ("float16", (64, 3, 32, 32, 7, 2, 3))]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton's compiler is on Linux only")
def test_products_run_on_tensor_cores_from_shared_memory_that_the_copy_engine_fills():
    # In a process without the interpreter.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", CODE, json.dumps(LAYERS)], env=environment, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for what, rows in json.loads(done.stdout).items():
        products = [row for row in rows if row["kernel"] not in ("add_kernel", "to_blocks_kernel")]
        assert products, what
        for row in products:
            # Two fetches before the loop, to fill the pipeline, and two in it.
            assert row["tma"] >= 4 and row["wgmma"] + row["wgmma_registers"] >= 1 and row["mma"] == 0, (what, row)
            assert row["stack"] == 0 and row["registers"] <= 255 and row["shared"] <= 227 * 1024, (what, row)
            if row["tile"][1] >= 64:  # of fewer filters pixels come first, through registers
                assert row["wgmma_registers"] == 0, (what, row)
