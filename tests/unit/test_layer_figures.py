"""What a layer reads and the matrix it is: the drawings of notebook 01."""

import re
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize(("kind", "lines", "styles"), [("dense", 35, 1), ("local", 15, 1), ("shared", 15, 3)])
def test_a_layer_is_drawn_with_a_line_for_every_product(kind, lines, styles):
    _, ax = plt.subplots()
    plots.connections(ax, kind, inputs=7, window=3, title=kind)
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert len(drawn) == lines and len({line.get_linestyle() for line in drawn}) == styles
    squares, circles = ax.lines[-2:]
    assert (len(squares.get_xdata()), len(circles.get_xdata())) == (7, 5)


def frames(page):
    return len(re.findall(r"frames\[\d+\] = ", page))


def test_the_matrix_player_shows_a_row_for_every_window():
    start = time.process_time()
    line = animation.matrix_rows(np.array([3.0, 1, 4, 1, 5]), np.array([-1.0, 0, 2])).data
    image = animation.matrix_rows(np.arange(20.0).reshape(4, 5), np.ones((2, 3))).data
    assert frames(line) == 3 and frames(image) == 3 * 3
    assert "A kernel of 3 slides" in line and "A kernel of 2 by 3 slides" in image
    assert all("http" not in page and len(page) < 1e6 for page in (line, image))
    assert time.process_time() - start < 15
    assert not plt.get_fignums()


def test_the_matrix_player_draws_the_matrix_of_the_window(monkeypatch):
    drawn = {}

    def keep(fig, draw, frames, interval, alt):
        draw(frames - 1)
        drawn.update(fig=fig, texts=[[t.get_text() for t in ax.texts] for ax in fig.axes])

    monkeypatch.setattr(animation.windows, "player", keep)
    animation.matrix_rows(np.array([3.0, 1, 4, 1]), np.array([-1.0, 0, 2]))
    matrix, output, above = drawn["texts"]
    assert matrix == ["−1", "0", "2", "−1", "0", "2"] and output == ["5", "1"] and above == ["3", "1", "4", "1"]
    assert drawn["fig"].get_suptitle() == "row 1: (−1)·1 + 2·1 = 1"


def test_nothing_is_drawn_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.matrix_rows(np.ones(4), np.ones(2)) is None
