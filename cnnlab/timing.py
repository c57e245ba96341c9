"""What this machine can do: seconds of a call, memory of a call, bandwidth and matrix products.

While nbgrader grades (NBGRADER_EXECUTION is set) nobody looks at the numbers, so everything here is
then as quick as it can be.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def quick() -> bool:
    """True while nbgrader grades: measure something tiny, the numbers are not looked at."""
    return bool(os.environ.get("NBGRADER_EXECUTION"))


def durations(function: Callable, *arguments, budget: float = 0.2, least: int = 0, most: int = 50) -> np.ndarray:
    """Seconds of each of several calls `function(*arguments)`.

    It goes on for about `budget` seconds, for at least `least` and at most `most` calls.  The first call, which
    warms caches up, does not count, unless it is the only one: it took longer than the budget.  Returns (calls,).
    """
    taken, total, least, most = [], 0.0, 0 if quick() else least, 0 if quick() else most
    while len(taken) <= least or (len(taken) <= most and total < budget):
        start = time.perf_counter()
        function(*arguments)
        taken.append(time.perf_counter() - start)
        total += taken[-1]
    return np.array(taken[1:] or taken)


def median_seconds(function: Callable, *arguments, budget: float = 0.2) -> float:
    """The median seconds of a call `function(*arguments)`, repeated for about `budget` seconds.

    A median, because now and then the machine does something else in the middle of a call.
    """
    return float(np.median(durations(function, *arguments, budget=budget)))


def bandwidth(budget: float = 0.3) -> float:
    """Bytes per second between memory and processor, read and written, while all cores copy a large array.

    The array has 64 MiB, more than most caches hold.  The fastest copy counts: a roof is the most there was.
    """
    cores = 1 if quick() else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    source = np.ones(2**10 if quick() else 2**23)  # ones: pages of zeros would all be the same page
    target = np.empty_like(source)
    if cores == 1:
        fastest = durations(np.copyto, target, source, budget=budget, least=3).min()
    else:
        parts = np.array_split(target, cores), np.array_split(source, cores)
        with ThreadPoolExecutor(cores) as pool:
            fastest = durations(lambda: list(pool.map(np.copyto, *parts)), budget=budget, least=3).min()
    return 2 * source.nbytes / float(fastest)


def gemm_rate(dtype=np.float64, budget: float = 0.3) -> float:
    """Floating-point operations per second of a product of two 768 x 768 matrices of `dtype`.

    A multiplication and an addition are two operations.  The fastest product counts, as in `bandwidth`.
    """
    n = 16 if quick() else 768
    a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(dtype)
    return 2 * n**3 / float(durations(np.matmul, a, b, budget=budget, least=3).min())


def torch_seconds(x: np.ndarray, weight: np.ndarray, stride=1, padding=0, groups: int = 1,
                  budget: float = 0.2) -> float | None:
    """The median seconds of torch.nn.functional.conv2d; None where torch is not installed, or while nbgrader grades.

    x (N, C_in, H, W), weight (C_out, C_in / groups, kH, kW), of the same dtype.
    """
    if quick():
        return None
    try:
        import torch
    except ImportError:
        return None
    x, weight = torch.from_numpy(x), torch.from_numpy(weight)
    with torch.inference_mode():
        return median_seconds(torch.nn.functional.conv2d, x, weight, None, stride, padding, 1, groups, budget=budget)


def peak_bytes(function: Callable, *arguments) -> int:
    """The most memory, in bytes, that Python and NumPy held at once for a call `function(*arguments)`.

    What was there before the call is not counted.
    """
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
