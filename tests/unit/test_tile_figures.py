"""The moving picture of notebook 17: a tile on its way through the window."""

import re

import matplotlib.pyplot as plt
import pytest

from cnnlab import animation


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_player_has_a_frame_for_each_position_and_block_of_channels(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    page = animation.implicit_gemm((3, 4), channels=3, filters=2, kernel_size=(2, 1), padding=1, blocks=(4, 2, 2)).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 2 * 1 * 2
    assert "http" not in page and plt.get_fignums() == []


def test_the_numbers_stand_where_the_outputs_read(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    seen = {}

    def player(fig, draw, frames, *rest):
        for step in range(frames):
            draw(step)
            seen[step] = [text.get_position() for text in fig.axes[0].texts[-3:]]

    monkeypatch.setattr("cnnlab.animation.tiles.player", player)
    animation.implicit_gemm((4, 5), channels=1, filters=1, kernel_size=(2, 2), stride=2, padding=1, blocks=(3, 1, 1))
    # Outputs 0, 1, 2 of the first row start at columns 0, 2, 4 of the padded image, as (column, row).
    assert seen == {0: [(0, 0), (2, 0), (4, 0)], 1: [(1, 0), (3, 0), (5, 0)],
                    2: [(0, 1), (2, 1), (4, 1)], 3: [(1, 1), (3, 1), (5, 1)]}


def test_nothing_is_animated_while_grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.implicit_gemm((3, 3), 1, 1, (2, 2)) is None
