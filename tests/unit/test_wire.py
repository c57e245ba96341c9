"""Values over the wire: what goes in comes out, and nothing that comes in is believed."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlab.compare import Handle, describe
from cnnlab.wire import MAX_DEPTH, Malformed, pack, read_npy, unpack

ARRAYS = hnp.arrays(st.sampled_from(["?", "i1", "u2", "i8", "f2", "f4", "f8", "c16"]), hnp.array_shapes(min_dims=0, min_side=0))
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), ARRAYS)
VALUES = st.recursive(PLAIN, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8)


def there_and_back(value):
    buffers = []
    return unpack(pack(value, buffers, keep=lambda v: 1), buffers)


def equal(a, b):
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or repr(a) == repr(b))


@given(VALUES)
def test_a_value_arrives_as_it_was(value):
    assert equal(value, there_and_back(value))


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int8(-3), np.bool_(True), np.float64("nan")])
def test_a_numpy_scalar_keeps_its_type(scalar):
    back = there_and_back(scalar)
    assert type(back) is type(scalar) and repr(back) == repr(scalar)


def test_the_layout_of_an_array_does_not_change_its_values():
    x = np.arange(24.0).reshape(2, 3, 4)
    for view in (x.T, x[:, ::2], x[::-1], np.asfortranarray(x)):
        assert (there_and_back(view) == view).all()


def test_an_array_of_a_students_own_class_arrives_as_a_plain_one():
    class Liar(np.ndarray):
        def __eq__(self, other):
            return True

        def __array_function__(self, *args):
            return True

    assert type(there_and_back(np.arange(3.0).view(Liar))) is np.ndarray


@pytest.mark.parametrize("value", [object(), print, np.array([object()]), np.array(["a"]), (i for i in ()),
                                   type("Own", (float,), {})(2.0), {1: 2}, 10**20000], ids=lambda v: type(v).__name__)
def test_what_has_no_form_travels_as_a_handle_with_a_few_words(value):
    back = there_and_back(value)
    assert isinstance(back, Handle) and back.number == 1
    assert describe(back) == describe(value)


def test_a_value_that_is_nested_too_deep_or_endless_is_refused():
    deep = endless = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    endless = []
    endless.append(endless)
    for value in (deep, endless, [0] * 300_000):
        with pytest.raises(Malformed, match="nested too deep or too long"):
            there_and_back(value)


def npy(header: str, payload: bytes = b"") -> bytes:
    text = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + payload


def saved(array, **how):
    out = io.BytesIO()
    np.save(out, array, **how)
    return out.getvalue()


@pytest.mark.parametrize("data", [
    b"", b"\x93NUMPY", b"PK\x03\x04", pickle.dumps(np.arange(3)), saved(np.array([{}]), allow_pickle=True),
    saved(np.arange(3.0))[:-1], saved(np.arange(3.0)) + b"x",
    npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
    npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}", bytes(8)),
    npy("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}", bytes(8)),
    npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    npy("{'descr': '|S0', 'fortran_order': False, 'shape': (9,)}"),
    npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    npy("__import__('os').abort()"), npy("{" * 100)])
def test_a_forged_array_is_refused_before_anything_is_allocated(data):
    with pytest.raises(Malformed):
        read_npy(data)


@pytest.mark.parametrize("form", [
    [], 1.5, {}, {"list": 3}, {"npy": 0}, {"npy": "0"}, {"npy": -1}, {"float": 1.0}, {"float": "x"}, {"int": "9" * 20_000},
    {"int": "x"}, {"complex": ["0x0p0"]}, {"dict": [[1]]}, {"tuple": [[]]}, {"handle": "x"}, {"pickle": "gASV"},
    {"scalar": None}])
def test_a_forged_form_is_refused(form):
    with pytest.raises(Malformed):
        unpack(form, [])


JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(
        ["npy", "list", "tuple", "dict", "scalar", "handle", "is", "int", "float", "complex"]), inner, max_size=3)))


@given(JSON, st.lists(st.binary(max_size=200), max_size=2))
def test_whatever_comes_in_is_a_value_or_malformed(form, buffers):
    try:
        unpack(form, buffers)
    except Malformed:
        pass
