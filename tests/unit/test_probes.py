"""The data of an exercise survives the way to JSON and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlab.compare import same
from cnnlab.probes import Probe, Raises, decode, encode, load, strided

plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
                  hnp.arrays(st.sampled_from([np.float64, np.float32, np.int64]),
                             hnp.array_shapes(max_dims=4, max_side=3)))
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@given(values)
def test_a_value_comes_back_as_it_was(value):
    back = decode(json.loads(json.dumps(encode(value))))
    assert type(back) is type(value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype and back.shape == value.shape
        assert np.allclose(back, value, rtol=1e-12, atol=0, equal_nan=True)
    elif isinstance(value, float):
        assert back == pytest.approx(value, rel=1e-12)
    elif not isinstance(value, tuple):
        assert back == value


def test_a_strided_view_comes_back_as_a_strided_view():
    x = np.arange(12.0).reshape(3, 4)
    for view in (strided(x), x.T):
        back = decode(json.loads(json.dumps(encode(view))))
        assert not back.flags.c_contiguous
        assert same(view, back)
        assert np.isnan(back.base).any(), "what lies between is poisoned"


def test_an_exception_is_kept_by_name():
    assert decode(encode(Raises("IndexError"))) == Raises("IndexError")


@pytest.mark.parametrize(("value", "named"), [
    ({1, 2}, "set"), (np.ones(2, complex), "an array of complex128"), (np.array(["a"]), "an array of <U1"),
    (1j, "complex")])
def test_what_a_probe_cannot_hold_is_refused_with_what_it_can(value, named):
    with pytest.raises(TypeError, match=f"cannot hold {named}: use arrays"):
        encode(value)


def test_an_unknown_exercise_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match="Did you mean brighten"):
        load("brigten")


def test_the_size_of_a_probe_counts_numbers_in_nested_tuples_and_no_words():
    assert Probe((((1, 2, 3), "pool", (4, (5,))), np.zeros((2, 3))), {"k": 7, "word": "abc"}).size == 5 + 6 + 1
