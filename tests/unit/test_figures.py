"""Pictures and animations: right numbers, and nothing fetched from the net."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation, data, plots


@pytest.fixture(autouse=True)
def closed():
    yield
    assert len(plt.get_fignums()) <= 1
    plt.close("all")


def test_the_player_shows_every_window_and_needs_no_network():
    page = animation.sliding_window(np.eye(4), np.ones((2, 2))).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 9
    assert "http" not in page and "fa-" not in page
    assert re.search(r'<img alt="A 2 by 2 kernel[^"]+" src="data:image/png;base64,[A-Za-z0-9+/=]+" id=', page)
    assert all(f'title="{name}"' in page for name in ("Play", "Pause", "Next frame"))


def test_the_player_counts_windows_with_stride_padding_and_dilation():
    page = animation.sliding_window(np.ones((5, 6)), np.ones((3, 3)), stride=2, padding=1, dilation=2).data
    assert len(re.findall(r"frames\[\d+\] = ", page)) == 2 * 2


def test_nothing_is_drawn_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert animation.sliding_window(np.eye(4), np.ones((2, 2))) is None


def test_the_digits_are_all_there():
    images, labels = data.digits()
    assert images.shape == (1797, 8, 8) and images.min() == 0 and images.max() == 16
    assert labels.shape == (1797,) and set(labels) == set(range(10))


@pytest.mark.parametrize(("name", "shape"), [("china", (427, 640, 3)), ("flower", (427, 640, 3)),
                                             ("hopper", (600, 512, 3))])
def test_the_photographs_open(name, shape):
    photo = data.photo(name)
    assert photo.shape == shape and 0 <= photo.min() < photo.max() <= 1
    assert data.grey(photo).shape == shape[:2]


def test_an_unknown_photograph_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="china, flower, hopper"):
        data.photo("lena")


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        data.digits()


def test_images_stand_in_one_row_with_their_titles():
    plots.images(np.eye(3), np.ones((3, 6, 3)), titles=["one", "two"])
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes] == ["one", "two"]


def test_a_grid_writes_every_number():
    _, ax = plt.subplots()
    plots.grid(ax, np.array([[1.0, -2.5], [np.nan, 4.0]]))
    assert [t.get_text() for t in ax.texts] == ["1", "−2.5", "4"]
