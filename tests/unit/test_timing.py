"""Measurements: what is counted, what is not, and that none of it takes long."""

import subprocess
import sys
import time

import numpy as np
import pytest

from cnnlab import timing


class Clock:
    """Stands for `time`: each call of `work` moves it on by the next of `steps`, processor and wall alike."""

    def __init__(self, *steps):
        self.now, self.steps, self.calls = 0.0, list(steps), []

    def perf_counter(self):
        return self.now

    process_time = perf_counter

    def work(self, *arguments):
        self.calls.append(arguments)
        self.now += self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)

    def start(*steps):
        made = Clock(*steps)
        monkeypatch.setattr(timing, "time", made)
        return made
    return start


@pytest.fixture
def grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")


def test_the_first_call_and_one_that_was_disturbed_do_not_move_the_median(clock):
    made = clock(3.0, 1.0, 1.0, 5.0, 1.0)
    assert timing.median_seconds(made.work, "x", budget=11) == 1.0
    assert made.calls == [("x",)] * 5


def test_calls_stop_when_the_budget_is_spent(clock):
    made = clock(0.25)
    assert len(timing.durations(made.work, budget=2)) == 7
    assert made.now == 2.0


def test_a_call_longer_than_the_budget_is_made_once_and_counts(clock):
    made = clock(4.0)
    assert timing.durations(made.work, budget=1).tolist() == [4.0]


def test_there_are_as_many_calls_as_asked_for_whatever_they_take(clock):
    made = clock(4.0, 1.0)
    assert timing.durations(made.work, budget=1, least=2).tolist() == [1.0, 1.0]


def test_there_are_no_more_calls_than_asked_for(clock):
    made = clock(0.0)
    assert len(timing.durations(made.work, most=5)) == 5
    assert len(made.calls) == 6


def test_while_grading_a_function_is_called_once(clock, grading):
    made = clock(0.5)
    assert timing.median_seconds(made.work) == 0.5
    assert len(made.calls) == 1


def test_bandwidth_and_gemm_rate_are_those_of_a_computer(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    assert 1e8 < timing.bandwidth(budget=0.05) < 1e13
    assert 1e8 < timing.gemm_rate(budget=0.05) < 1e15
    assert 1e8 < timing.gemm_rate(np.float32, budget=0.05) < 1e15
    assert 1e8 < timing.bandwidth(all_cores=True, budget=0.05) < 1e13
    assert 1e8 < timing.gemm_rate(all_cores=True, budget=0.05) < 1e16


def test_reading_and_writing_count_as_bytes_multiplying_and_adding_as_operations(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setattr(timing, "durations", lambda *arguments, **settings: np.array([1.0, 2.0]))
    assert timing.bandwidth() == 2 * 8 * 2**23
    assert timing.gemm_rate() == 2 * 768**3


def test_torch_is_timed_where_it_is_installed(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    x, weight = np.ones((2, 4, 6, 5)), np.ones((6, 2, 3, 3))
    assert 0 < timing.torch_seconds(x, weight, stride=(1, 2), padding=1, groups=2, budget=0.01) < 5


def test_without_torch_the_time_is_none(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it now fails
    assert timing.torch_seconds(np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1))) is None


def test_while_grading_everything_is_quick_and_torch_is_not_imported():
    code = ("import sys, time, numpy as np\n"
            "from cnnlab import timing\n"
            "np.ones((2, 2)) @ np.ones((2, 2))\n"
            "start = time.perf_counter()\n"
            "timing.bandwidth(), timing.gemm_rate(), timing.gemm_rate(np.float32)\n"
            "assert timing.torch_seconds(np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1))) is None\n"
            "assert 'torch' not in sys.modules\n"
            "print(time.perf_counter() - start)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"NBGRADER_EXECUTION": "autograde", "PATH": "/usr/bin:/bin",
                               "PYTHONPATH": ":".join(p for p in sys.path if p)})
    assert float(done.stdout) < 0.5  # a few milliseconds on an idle machine


def test_the_peak_counts_what_a_call_held_at_once():
    def call(n):
        first = np.ones(n)
        del first
        return np.ones(n), np.ones(n)

    assert timing.peak_bytes(call, 100_000) == pytest.approx(2 * 800_000, rel=0.01)
    before = np.ones(100_000)
    assert timing.peak_bytes(lambda: before[1:]) < 10_000


def test_a_measurement_takes_about_its_budget(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    start = time.perf_counter()
    timing.median_seconds(time.sleep, 0.001, budget=0.05)
    assert time.perf_counter() - start < 2


@pytest.mark.skipif(sys.platform == "win32", reason="times on the wall there")
def test_waiting_is_not_working(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    assert timing.median_seconds(time.sleep, 0.01, budget=0.05) < 0.005
    assert timing.durations(time.sleep, 0.01, budget=0.05, all_cores=True).min() >= 0.01


def test_matrix_products_are_held_to_one_core(monkeypatch):
    from threadpoolctl import threadpool_info

    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    seen = []

    def look():
        seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})

    before = threadpool_info()
    timing.median_seconds(look, budget=0)
    assert seen == [{1}] and threadpool_info() == before


def test_torch_gets_its_cores_back():
    import torch

    before = torch.get_num_threads()
    timing.torch_seconds(np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1)), budget=0)
    assert torch.get_num_threads() == before
