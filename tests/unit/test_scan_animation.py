"""The animation of notebook 15: a window that goes over a page, and what a network says of it."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from cnnlab import animation

PAGE = np.arange(12 * 20.0).reshape(12, 20)
P = np.array([[[0, 0, 0, 0], [0.7, 0.4, 0.1, 0.2]], [[0, 0, 0, 0], [0.3, 0.6, 0.9, 0.8]]])  # (2, 2, 4)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_player_shows_every_place_of_the_row_and_needs_no_network():
    page = animation.scan(PAGE, P, window=8, stride=4, row=1).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 4
    assert "http" not in page and "fa-" not in page and len(page) < 1e6 and not plt.get_fignums()


def test_the_frame_stands_on_the_window_and_the_largest_bar_is_dark(monkeypatch):
    kept = {}
    monkeypatch.setattr("cnnlab.animation.networks.player", lambda fig, draw, *_: kept.update(fig=fig, draw=draw))
    animation.scan(PAGE, P, window=8, stride=4, row=1)
    page, bars = kept["fig"].axes
    for place, best in enumerate([0, 1, 1, 1]):
        kept["draw"](place)
        marker = page.patches[0]
        assert (marker.get_x(), marker.get_y()) == (4 * place - 0.5, 3.5)
        assert marker.get_width() == marker.get_height() == 8
        np.testing.assert_allclose([bar.get_height() for bar in bars.patches], P[:, 1, place])
        assert [to_hex(bar.get_facecolor()) == "#ff7f0e" for bar in bars.patches] == [k == best for k in range(2)]
        assert bars.get_title() == f"place (1, {place}) of the map: {best}"


def test_nothing_is_drawn_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.scan(PAGE, P, 8, 4, 1) is None
