"""Notebook 00: what its prose says of the photograph, and of its written question."""

import numpy as np
import pytest

SLUG = "00_start_here"


@pytest.fixture
def nb(names_of):
    return names_of(SLUG)


def test_adding_to_the_photograph_whitens_the_sky(nb):
    sky = nb["photo"][:60, 260:]                       # right of the tower
    assert sky.min() > 0.6
    assert (nb["brighten"](sky, 0.4) == 1).all()
    assert nb["white_before"] < 0.001 < nb["white_after"]
    back = nb["brighten"](nb["brighten"](sky, 0.4), -0.4)
    assert np.ptp(sky) > 0.05 and np.ptp(back) == 0    # its shades do not come back


def test_the_trees_keep_their_detail(nb):
    trees = nb["photo"][350:, :150]
    assert np.mean(nb["brighten"](trees, 0.4) == 1) < 0.1


def test_the_model_answer_about_a_changed_input(nb):
    def brighten(image, amount):
        image += amount
        return np.clip(image, 0, 1)

    original, photo = nb["photo"].copy(), nb["photo"].copy()
    brighten(photo, 0.4)
    np.testing.assert_allclose(brighten(photo, -0.4), original, atol=1e-12)
    brighten(photo, 0.4)
    np.testing.assert_allclose(photo, original + 0.4)
