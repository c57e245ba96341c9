"""The animation of notebook 11: what one unit sees, layer by layer."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation
from cnnlab.data import grey, photo

CONFIG = (4, "M", 4)
FIELDS = (3, 4, 8)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
def test_there_is_a_picture_for_each_entry_of_the_list(shape):
    page = animation.growing_field(np.ones(shape) / 2, FIELDS, CONFIG, interval=50).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 3
    assert "http" not in re.sub(r'xmlns\S*="http[^"]*"', "", page.split("<script")[0])
    assert not plt.get_fignums()


def test_the_frame_lies_around_the_middle_and_is_as_large_as_the_field(monkeypatch):
    drawn = {}
    monkeypatch.setattr("cnnlab.animation.fields.player",
                        lambda fig, draw, frames, interval, alt: drawn.update(fig=fig, draw=draw, frames=frames))
    animation.growing_field(np.zeros((20, 24)), FIELDS, CONFIG)
    left = drawn["fig"].axes[0]
    for step, side in enumerate(FIELDS):
        drawn["draw"](step)
        boxes = {patch.get_bbox().bounds for patch in left.patches}
        assert boxes == {(12 - side / 2 - 0.5, 10 - side / 2 - 0.5, side, side)}
        assert left.get_title() == f"entry {step + 1}, {('3×3', 'M', '3×3')[step]}: {side}×{side} pixels"
    plt.close(drawn["fig"])


def test_a_photograph_and_all_of_vgg_16_stay_small():
    config = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
    fields = (3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212)
    picture = grey(photo("hopper"))[:448:2, 32:480:2]                    # (224, 224)
    assert len(animation.growing_field(picture, fields, config).data) < 2e6


def test_nothing_is_animated_while_grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.growing_field(np.zeros((9, 9)), FIELDS, CONFIG) is None
