"""The block of entries that share a mean, and the animations of notebook 07."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from cnnlab import animation, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    assert len(plt.get_fignums()) <= 1
    plt.close("all")


def test_a_block_fills_the_shared_entries_on_its_three_faces():
    n, c, p = 2, 3, 4
    shared = np.zeros((n, c, p), bool)
    shared[:, 2] = True                                                  # the last channel, of all images
    _, ax = plt.subplots()
    cells = plots.block(ax, shared, "batch norm")
    assert len(cells) == c * p + n * c + n * p                           # front, top, right
    filled = [index for patch, index in cells if to_hex(patch.get_facecolor()) != "#ffffff"]
    assert len(filled) == p + n + n * p and all(channel == 2 for _, channel, _ in filled)
    assert ax.get_title() == "batch norm" and [t.get_text() for t in ax.texts] == ["C", "H·W", "N"]


def test_a_filled_cell_is_darker_than_an_empty_one_in_grey_too():
    _, ax = plt.subplots()
    cells = plots.block(ax, np.arange(2).reshape(2, 1, 1) == 0)
    grey = {index: np.dot(patch.get_facecolor()[:3], [0.299, 0.587, 0.114]) for patch, index in cells}
    assert grey[0, 0, 0] < 0.7 < 0.99 < grey[1, 0, 0]


@pytest.mark.parametrize(("make", "frames"), [(lambda: animation.norm_groups((2, 4, 3)), 8),
                                              (lambda: animation.dropping(np.eye(4), passes=5), 5)])
def test_the_players_show_every_frame_and_need_no_network(make, frames, monkeypatch):
    page = make().data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == frames
    assert "http" not in page and "fa-" not in page and len(page) < 2e6
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert make() is None
