"""The player of max pooling shows every window, the right winner, and what has arrived."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def drawn(monkeypatch):
    """The figure and the drawing function, in place of the finished page."""
    kept = {}

    def keep(fig, draw, frames, interval, alt):
        kept.update(fig=fig, draw=draw, frames=frames, alt=alt)

    monkeypatch.setattr(animation.gradients, "player", keep)
    return kept


X = np.array([[1.0, -2, 3, 0, 3], [4, 0, 3, -1, 2], [0, 3, 1, 1, 1]])


def numbers(ax):
    return [t.get_text() for t in ax.texts if t.get_visible()]


def test_the_output_fills_in_window_by_window(drawn):
    animation.max_pooling(X, (2, 3), (1, 2))
    left, right = drawn["fig"].axes
    assert drawn["frames"] == 4
    drawn["draw"](1)
    assert numbers(right) == ["4", "3"] and len(numbers(left)) == X.size
    window, winner = left.patches
    assert window.get_xy() == (1.5, -0.5) and (window.get_width(), window.get_height()) == (3, 2)
    assert winner.get_xy() == (1.5, -0.5)  # the first of three maxima, in row 0 and column 2


def test_gradients_arrive_at_the_winner_and_add_up(drawn):
    animation.max_pooling(X, (2, 3), (1, 2), dy=np.array([[5.0, 7], [-1, 2]]))
    total = drawn["fig"].axes[2]
    drawn["draw"](2)
    assert np.reshape(numbers(total), X.shape).tolist() == [["0", "0", "7", "0", "0"], ["4", "0", "0", "0", "0"],
                                                            ["0", "0", "0", "0", "0"]]
    drawn["draw"](3)
    assert numbers(total)[7] == "2"
    assert drawn["fig"].get_suptitle() == "The winner 3 gets 2 and now has 2."


def test_padding_never_wins(drawn):
    animation.max_pooling(-np.ones((2, 2)), 2, padding=1, dy=np.arange(4.0).reshape(2, 2))
    left, _, total = drawn["fig"].axes
    assert numbers(left).count("−∞") == 12
    drawn["draw"](3)
    assert numbers(total) == ["0", "1", "2", "3"]


def test_the_page_needs_no_network_and_is_small():
    page = animation.max_pooling(X, 2, 1, dy=np.ones((2, 4))).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 8
    assert "http" not in page and len(page) < 1.5e6


def test_nothing_is_drawn_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.max_pooling(X, 2) is None
