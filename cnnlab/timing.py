"""What this machine can do: seconds and memory of a call, bandwidth, and the rate of matrix products.

Times are processor time on one core unless said otherwise: NumPy copies, transforms and loops on one core only,
so this compares methods fairly, and other programs hardly disturb it.  While nbgrader grades (NBGRADER_EXECUTION is
set) nobody looks at the numbers, so everything here is then as quick as it can be.
"""

from __future__ import annotations

import contextlib
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cnnlab.environment import cores
from cnnlab.notebook import quick


def durations(function: Callable, *arguments, budget: float = 0.2, least: int = 0, most: int = 50,
              all_cores: bool = False) -> np.ndarray:
    """Seconds of each of several calls `function(*arguments)`.

    It goes on until these make about `budget` seconds, for at least `least` and at most `most` calls.  The first
    call, which warms caches up, does not count, unless it is the only one: it took longer than the budget.
    all_cores: do not hold matrix products to one core, and take the time on the wall.  Returns (calls,).
    """
    taken, total, least, most = [], 0.0, 0 if quick() else least, 0 if quick() else most
    # Windows counts processor time in steps of 16 ms.
    clock = time.perf_counter if all_cores or sys.platform == "win32" else time.process_time
    with contextlib.nullcontext() if all_cores or quick() else one_core():
        while len(taken) <= least or (len(taken) <= most and total < budget):
            start = clock()
            function(*arguments)
            taken.append(clock() - start)
            total += taken[-1]
    return np.array(taken[1:] or taken)


def one_core() -> contextlib.AbstractContextManager:
    """A block in which NumPy's matrix products run on one core; threadpoolctl comes with scikit-learn."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(1)


def median_seconds(function: Callable, *arguments, budget: float = 0.2, least: int = 0) -> float:
    """The median seconds of a call `function(*arguments)` on one core, repeated for about `budget` seconds.

    A median, because now and then a call is disturbed.  There are at least `least` calls after the first.
    """
    return float(np.median(durations(function, *arguments, budget=budget, least=least)))


def bandwidth(all_cores: bool = False, budget: float = 0.3) -> float:
    """Bytes per second between memory and processor, read and written, while one core or all copy a large array.

    The array has 64 MiB, more than most caches hold.  The fastest copy counts: a roof is the most there was.
    """
    source = np.ones(2**10 if quick() else 2**23)  # ones: pages of zeros would all be the same page
    target, threads = np.empty_like(source), cores() if all_cores and not quick() else 1
    if threads == 1:
        taken = durations(np.copyto, target, source, budget=budget, least=3)
    else:
        parts = np.array_split(target, threads), np.array_split(source, threads)
        with ThreadPoolExecutor(threads) as pool:
            taken = durations(lambda: list(pool.map(np.copyto, *parts)), budget=budget, least=3, all_cores=True)
    return 2 * source.nbytes / float(taken.min())


def gemm_rate(dtype=np.float64, all_cores: bool = False, budget: float = 0.3) -> float:
    """Floating-point operations per second of a product of two 768 x 768 matrices of `dtype`, on one core or all.

    A multiplication and an addition are two operations.  The fastest product counts, as in `bandwidth`.
    """
    n = 16 if quick() else 768
    a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(dtype)
    return 2 * n**3 / float(durations(np.matmul, a, b, budget=budget, least=3, all_cores=all_cores).min())


def torch_seconds(x: np.ndarray, weight: np.ndarray, stride=1, padding=0, groups: int = 1,
                  budget: float = 0.2) -> float | None:
    """The median seconds of torch.nn.functional.conv2d on one core; None without torch, and while nbgrader grades.

    x (N, C_in, H, W), weight (C_out, C_in / groups, kH, kW), of the same dtype.
    """
    if quick():
        return None
    try:
        import torch
    except ImportError:
        return None
    arguments = torch.from_numpy(x), torch.from_numpy(weight), None, stride, padding, 1, groups
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return median_seconds(torch.nn.functional.conv2d, *arguments, budget=budget)
    finally:
        torch.set_num_threads(threads)


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
