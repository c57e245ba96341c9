"""Work shared between the processor's cores, and cut into blocks that fit its caches.

NumPy computes matrix products on all cores, but copies and adds on one.  Here every core takes some of the images and
does all the work on them, its matrix products included.  NumPy lets other threads run while it computes.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

SMALL = 2**22  # operations: about a tenth of a millisecond
_LOCK = threading.Lock()  # the number of threads of a matrix product is a setting of the whole process


def share(work, N: int, operations: int) -> list:
    """Call work(part) for slices that together cover range(N), at the same time; return what each call returns.

    There are as many slices as NumPy's matrix products would use threads (OPENBLAS_NUM_THREADS), and the products in
    each use one.  `operations` is how many the work takes: multiplications in matrix products, others tenfold.  If they
    are few, it is one slice and one thread: waking more takes longer, much longer while other programs keep them busy.
    Where the number of threads cannot be set, or N is 1, it is one slice, and its products use what they use.
    """
    cores = 1 if operations < SMALL else min(N, _cores())
    if _blas() is None or cores < 2 and operations >= SMALL:
        return [work(slice(0, N))]
    cuts = [N * i // cores for i in range(cores + 1)]
    first, *rest = (slice(a, b) for a, b in itertools.pairwise(cuts))
    with _LOCK, _blas().limit(limits=1):
        others = [_pool().submit(work, part) for part in rest]
        try:
            return [work(first), *(other.result() for other in others)]
        finally:
            for other in others:
                other.exception()  # wait: none may still run when the setting goes back


def blocks(images: slice, rows: int, row: int, most: int) -> list[tuple[slice, slice]]:
    """Cut images of `rows` rows into blocks (images, rows) of about `most` numbers, where a row takes `row` of them.

    A block is several whole images or some rows of one, at least one row.
    """
    n, r = max(1, most // (row * rows)), min(rows, max(1, most // row))
    return [(slice(i, min(i + n, images.stop)), slice(j, min(j + r, rows)))
            for i in range(images.start, images.stop, n) for j in range(0, rows, r)]


def _cores() -> int:
    return min((b["num_threads"] for b in _blas().info()), default=1) if _blas() else 1


@functools.cache
def _blas():
    """What sets the number of threads of matrix products: threadpoolctl, which scikit-learn brings along."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")


@functools.cache
def _pool():
    return ThreadPoolExecutor(os.cpu_count(), "cnnlab.layers")


def _after_fork():
    """A forked process has none of its parent's threads."""
    global _LOCK
    _LOCK = threading.Lock()
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
