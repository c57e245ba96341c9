"""The animation of notebook 09: an image that changes, and what a network says of it."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from cnnlab import animation

PICTURES = np.arange(3 * 4 * 5.0).reshape(3, 4, 5)
P = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_player_shows_every_frame_and_needs_no_network():
    page = animation.recognition(PICTURES, P, ["a", "b", "c"], 1).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 3
    assert "http" not in page and "fa-" not in page and len(page) < 1e6 and not plt.get_fignums()


def test_the_largest_bar_is_dark_that_of_the_label_hatched_and_a_wrong_answer_is_said(monkeypatch):
    kept = {}
    monkeypatch.setattr("cnnlab.animation.networks.player", lambda fig, draw, *_: kept.update(fig=fig, draw=draw))
    animation.recognition(PICTURES, P, ["a", "b", "c"], 1)
    left, right = kept["fig"].axes
    for frame, (title, said) in enumerate([("a", "It says 0: wrong"), ("b", "It says 1"), ("c", "It says 2: wrong")]):
        kept["draw"](frame)
        assert (left.get_title(), right.get_title()) == (title, said)
        bars = right.patches
        np.testing.assert_allclose([bar.get_height() for bar in bars], P[frame])
        assert [to_hex(bar.get_facecolor()) == "#ff7f0e" for bar in bars] == list(P[frame] == P[frame].max())
        assert [bool(bar.get_hatch()) for bar in bars] == [False, True, False]


def test_nothing_is_drawn_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.recognition(PICTURES, P, ["a", "b", "c"], 1) is None
