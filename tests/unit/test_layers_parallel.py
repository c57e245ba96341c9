"""How cnnlab.layers shares its work, and the matrices of its fast convolution."""

import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st

from cnnlab import layers
from cnnlab.layers import parallel, winograd

LARGE = 2**40


@given(st.integers(0, 5), st.integers(0, 9), st.integers(1, 9), st.integers(1, 50), st.integers(1, 1000))
def test_blocks_cover_every_row_of_every_image_once(start, N, rows, row, most):
    seen = np.zeros((start + N, rows), int)
    for images, some in parallel.blocks(slice(start, start + N), rows, row, most):
        seen[images, some] += 1
        n, r = seen[images, some].shape
        assert n * r * row <= most or n * r == 1
    assert (seen[start:] == 1).all() and not seen[:start].any()


@pytest.mark.parametrize("N", range(5))
@pytest.mark.parametrize("operations", [0, LARGE])
def test_share_covers_the_batch_in_order(N, operations):
    parts = parallel.share(lambda images: list(range(N))[images], N, operations)
    assert sum(parts, []) == list(range(N))


def test_share_uses_as_many_threads_as_numpys_products_and_one_for_each_product():
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
    seen = []

    def work(images):
        seen.append((threading.get_ident(), {b["num_threads"] for b in blas.info()}))

    before = blas.info()
    with blas.limit(limits=1):
        parallel.share(work, 4, LARGE)
    assert len(seen) == 1  # OPENBLAS_NUM_THREADS=1 is respected
    seen.clear()
    parallel.share(work, 4, LARGE)
    assert len(seen) == min(4, *(b["num_threads"] for b in before))
    assert len(seen) == 1 or all(threads == {1} for _, threads in seen)
    assert blas.info() == before


def test_an_error_in_any_thread_comes_out_and_the_setting_goes_back():
    before = threadpoolctl.threadpool_info()
    for wrong in range(2):
        with pytest.raises(ZeroDivisionError):
            parallel.share(lambda images: [1 // (i != wrong) for i in range(2)[images]], 2, LARGE)
    assert threadpoolctl.threadpool_info() == before


def small(seed):
    rng = np.random.default_rng(seed)
    layer = layers.Conv2d(rng.normal(size=(32, 32, 3, 3)), padding=1)
    y = layer.forward(rng.normal(size=(2, 32, 12, 12)))
    return y, layer.backward(y), layer.grad_weight


def test_layers_may_run_in_several_threads():
    expected = [small(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for want, got in zip(expected, pool.map(small, range(6))):
            for a, b in zip(want, got):  # a thread that finds the others' setting adds up in another order
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_layers_work_in_a_forked_process():
    expected, _, _ = small(0)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if (small(0)[0] == expected).all() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_convolution_never_builds_the_whole_matrix_of_windows():
    x, w = np.ones((2, 64, 96, 96), np.float32), np.ones((64, 64, 3, 3), np.float32)
    for how in ({"padding": 1}, {"padding": 2, "dilation": 2}):
        layer = layers.Conv2d(w, **how)
        tracemalloc.start()
        layer.backward(layer.forward(x))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 9 * x.nbytes  # of which five are x, y and their gradients, with a border


@pytest.mark.parametrize("k", range(2, 6))
def test_the_matrices_of_winograd_give_a_correlation(k):
    rng = np.random.default_rng(k)
    A, G, B = winograd.matrices(k)
    d, g = rng.normal(size=6), rng.normal(size=k)
    assert np.allclose(A.T @ ((G @ g) * (B @ d)), np.correlate(d, g), rtol=0, atol=1e-13)


@pytest.mark.parametrize("channels, pays", [(3, False), (16, False), (64, True), (512, True)])
def test_winograd_is_for_many_channels_only(channels, pays):
    weight = np.ones((channels, channels, 3, 3))
    assert winograd.Winograd.pays(weight, (1, 1), (1, 1), 56, 56) == pays
    assert not winograd.Winograd.pays(weight, (2, 1), (1, 1), 56, 56)
    assert not winograd.Winograd.pays(weight, (1, 1), (1, 2), 56, 56)


def test_whole_numbers_stay_exact_in_small_layers():
    y = layers.Conv2d(np.ones((2, 3, 3, 3)), padding=1).forward(np.ones((1, 3, 5, 5)))
    assert y[0, 0, 2, 2] == 27 and y[0, 1, 0, 0] == 12
