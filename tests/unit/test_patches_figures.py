"""The figures of notebook 04: patches as rows, addresses, the roof, and times."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_player_lays_every_window_as_a_row(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    page = animation.patches_as_rows(np.ones((2, 3, 4)), np.ones((3, 2, 2, 2))).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 2 * 3
    assert "http" not in page and plt.get_fignums() == []


def test_nothing_is_animated_while_grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.patches_as_rows(np.ones((1, 3, 3)), np.ones((1, 1, 2, 2))) is None


def test_each_line_of_addresses_is_what_one_window_reads():
    _, ax = plt.subplots()
    plots.addresses(ax, (3, 4), (2, 2), stride=2)
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    assert [list(map(int, d)) for d in dots] == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_the_roof_bends_where_peak_and_bandwidth_meet():
    _, ax = plt.subplots()
    plots.roofline(ax, bandwidth=10e9, peak=40e9, points={"A": (0.5, 3e9), "B": (60.0, 30e9)})
    x, y = ax.lines[0].get_data()
    assert x[1] == 4 and y[1] == y[2] == 40 and y[0] == pytest.approx(10 * x[0])
    assert x[0] < 0.5 and x[2] > 60 and [t.get_text() for t in ax.texts] == ["A", "B"]


def test_times_are_drawn_in_milliseconds_and_told_apart_without_colour():
    _, ax = plt.subplots()
    plots.times(ax, [8, 16], {"a": [0.001, 0.002], "b": [0.1, np.nan], "c": [1, 2]}, "size")
    assert ax.lines[0].get_ydata().tolist() == [1, 2] and ax.get_xlabel() == "size"
    looks = {(line.get_marker(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 3
