"""compare: one difference, in the right layer, with the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlab.compare import compare, same

X = np.array([[1.0, -2.0, 3.0, 4.5], [5.0, 6.0, -7.0, 8.0], [9.0, 1.0, 2.0, -3.0], [4.0, 7.0, 6.0, 2.0]])


@pytest.mark.parametrize("got", [X, X.copy(order="F"), X.tolist(), tuple(map(tuple, X)), X + 1e-13,
                                 X.astype(np.longdouble)])
def test_equal_answers_in_other_clothes_are_accepted(got):
    assert compare(X, got) is None


@pytest.mark.parametrize(("got", "layer", "says"), [
    (None, "kind", "None"), ("text", "kind", "string"), (np.array("a"), "kind", "numbers"),
    (X.astype(object), "kind", "object"), ([[1.0], [2.0, 3.0]], "kind", "different lengths"),
    (X[:, :3], "shape", "(4, 3)"), (X[None], "shape", "(1, 4, 4)"),
    (X.astype(int), "dtype", "int64"), (X.astype(np.float32), "dtype", "float32"),
    (X.astype(complex), "dtype", "real part"),
    (np.where(X > 8, np.nan, X), "finite", "nan"), (np.where(X > 8, np.inf, X), "finite", "inf"),
    (X + 1, "values", "expected"),
])
def test_the_first_failed_layer_is_reported(got, layer, says):
    difference = compare(X, got)
    assert difference.layer == layer
    assert says in difference.message + difference.where


@pytest.mark.parametrize(("got", "fact"), [
    ((X / 3).astype(np.float32).astype(float) * 3, "six digits"), (X + 1e-8, "six digits"),
    (-X, "Every sign is the other way round."), (2 * X, "2 times"), (X + 3, "3 too large"),
    (X.T, "transposed"), (X[::-1], "rows in reverse"), (X[:, ::-1], "columns in reverse"),
    (X[::-1, ::-1], "180°"), (np.maximum(X, 0), "Negative values have become 0."),
    (np.trunc(X), "lost its fraction"), (np.zeros_like(X), "Every value returned is 0."),
    (X.ravel()[np.r_[1, 0, 2:16]].reshape(4, 4), "in the wrong places"),
])
def test_a_plain_relation_is_stated(got, fact):
    assert fact in compare(X, got).where


def test_values_that_are_tiny_beside_the_expected_ones_are_no_multiple_of_them():
    assert "times" not in compare(1e12 * X, np.full(X.shape, -3.0)).where
    assert "times" in compare(1e12 * X, -3 * X).where


def changed(where):
    got = np.zeros((5, 6)) + np.arange(6)
    expected = got.copy()
    got[where] += np.pi
    return expected, got


@pytest.mark.parametrize(("where", "pattern"), [
    (np.s_[-1, :], "Only the last row"), (np.s_[:, -1], "Only the last column"),
    (np.s_[0, :], "border differs (top)"), (np.s_[1:, 0], "border differs (bottom, left)"),
    (np.s_[2, 3], ""),
])
def test_the_place_is_named_when_it_has_a_pattern(where, pattern):
    assert pattern in compare(*changed(where)).where


def test_the_axis_that_is_wrong_is_named():
    expected = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    got = expected.copy()
    got[1:] = 0
    assert "Along axis 0 only index 1, 2 are wrong; index 0 is right." in compare(expected, got).where


class EqualsEverything(np.ndarray):
    def __array_ufunc__(self, *args, **kwargs):
        return np.array(True)

    def __eq__(self, other):
        return True


def test_an_array_that_claims_to_equal_everything_does_not():
    assert not same(X, np.zeros_like(X).view(EqualsEverything))


@pytest.mark.parametrize(("expected", "got", "layer"), [
    (5, 5.0, "dtype"), (5, np.int64(6), "values"), (5, True, "kind"), (0.5, float("nan"), "finite"),
    (0.5, "0.5", "kind"), (0.5, 1j, "dtype"), (True, 1, "kind"), ("same", "valid", "values"),
    ((1, 2), 3, "kind"), ((1, 2), (1, 2, 3), "kind"), ((1, 2), (1, 3), "values"),
    ((1, (2.0, X)), (1, (2.0, X[:2])), "shape"),
])
def test_numbers_strings_and_tuples_are_compared_too(expected, got, layer):
    assert compare(expected, got).layer == layer


@pytest.mark.parametrize(("expected", "got", "says"), [
    (("a", "b", "c"), ("a", "c"), "The first that differs is [1]: it returned 'c', expected 'b'."),
    (("a", "b"), ["a"], "[1]: it returned nothing, expected 'b'."),
    ((), ("a",), "[0]: it returned 'a', expected nothing."), (("a", "b"), (1,), ""), ((1, 2), (1,), ""),
])
def test_where_lists_of_strings_of_different_length_part_is_told(expected, got, says):
    difference = compare(expected, got)
    count = "1 value" if len(got) == 1 else f"{len(got)} values"
    assert difference.message == f"It returned {count}, expected {len(expected)}."
    assert difference.where.endswith(says) and bool(says) == bool(difference.where)


def test_where_none_is_expected_it_says_so_in_these_words():
    assert compare((None,), (3,)).message == "It returned the number 3, expected None."


@pytest.mark.parametrize(("expected", "got"), [
    (5, np.int32(5)), (5, np.array(5)), (0.5, np.float32(0.5)), (1.0, 1), (True, np.True_),
    ((1, 2), [1, 2]), ((1, 2), np.array([1, 2])), (None, None), ((X, 1), [X.tolist(), 1])])
def test_numbers_and_tuples_in_other_clothes_are_accepted(expected, got):
    assert compare(expected, got) is None


arrays = hnp.arrays(np.float64, hnp.array_shapes(max_dims=4, max_side=5),
                    elements=st.floats(-1e6, 1e6, allow_subnormal=False))


@pytest.mark.parametrize("tiny", [1e-300, 5e-324])
def test_numbers_whose_squares_vanish_give_no_warning(tiny):
    assert not same(np.full((2, 2), tiny), np.full((2, 2), 1e300))


@given(arrays)
def test_every_array_equals_itself(a):
    assert same(a, a.copy())


@given(arrays, arrays)
def test_any_two_arrays_are_compared_without_an_error(a, b):
    difference = compare(a, b)
    assert difference is None or difference.message


@given(arrays, st.data())
def test_one_clearly_wrong_value_is_found(a, data):
    i = data.draw(st.integers(0, a.size - 1))
    b = a.copy()
    b.flat[i] += 1 + np.abs(a).max()
    difference = compare(a, b)
    assert difference.layer == "values"
    assert difference.wrong.sum() == 1 and difference.wrong.flat[i]


def test_a_float32_convolution_is_close_enough_and_a_coarser_one_is_not():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 50, 576)).astype(np.float32)
    exact = (a.astype(float) * b).sum(1).astype(np.float32)
    assert same(exact, np.einsum("ij,ij->i", a, b))
    assert not same(exact, exact * np.float32(1.001))
