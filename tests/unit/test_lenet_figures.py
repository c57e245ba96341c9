"""The figure of what an image becomes at each stage of a network."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_stage_has_a_row_with_its_name_and_shape():
    plots.feature_maps({"C1": np.ones((2, 4, 6)), "F6": np.arange(5.0)})
    first, second = plt.gcf().axes
    assert first.get_ylabel() == "C1\n2×4×6" and second.get_ylabel() == "F6\n5"


def test_maps_stand_side_by_side_with_a_gap_and_a_vector_is_one_strip():
    maps = np.random.default_rng(0).normal(size=(3, 4, 6))
    plots.feature_maps({"maps": maps, "vector": np.arange(5.0)})
    first, second = (ax.images[0].get_array() for ax in plt.gcf().axes)
    assert first.shape == (4, 3 * 6 + 2) and first.mask[:, 6].all() and not first.mask[:, :6].any()
    np.testing.assert_array_equal(first[:, 7:13], maps[1])
    np.testing.assert_array_equal(second, [range(5)])
