"""A learner's index formula beside SymPy's derivative, term by term; the drawings of notebook 05."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cnnlab import animation, plots, symbolic


def right(r, c, a, b):
    return (r - a, c - b), (a, b)


def test_a_right_formula_agrees_term_by_term():
    table = symbolic.input_derivative(right, 1, 2)
    assert table.rows == (("dy(0, 1)·k(1, 1)", 1, 1), ("dy(0, 2)·k(1, 0)", 1, 1), ("dy(1, 1)·k(0, 1)", 1, 1),
                          ("dy(1, 2)·k(0, 0)", 1, 1))
    assert table.verdict == "The two sums agree: 4 terms." and table.outside == 0
    assert table.formula == r"\sum_{a,b} dy(1 - a, 2 - b)\,k(a, b)"


def test_at_a_corner_terms_outside_are_counted_and_left_out():
    table = symbolic.input_derivative(right, 0, 3)
    assert table.rows == (("dy(0, 2)·k(0, 1)", 1, 1),) and table.outside == 3
    assert "3 lie outside the arrays" in str(table)


def test_a_wrong_formula_is_told_which_terms_are_missing_and_which_too_much():
    table = symbolic.input_derivative(lambda r, c, a, b: ((r - a, c - b), (0, b)), 1, 2)
    assert table.missing == ["dy(0, 1)·k(1, 1)", "dy(0, 2)·k(1, 0)"]
    assert table.extra == ["dy(0, 1)·k(0, 1)", "dy(0, 2)·k(0, 0)"]
    assert "2 of your terms too much, 2 missing" in table.verdict
    page = table._repr_markdown_()
    assert "| dy(0, 1)·k(1, 1) | 1 | – | missing |" in page and "| dy(0, 1)·k(0, 1) | – | 1 | too much |" in page


def test_a_term_that_comes_twice_is_counted_twice():
    table = symbolic.kernel_derivative(lambda a, b, r, c: ((0, 0), (a, b)), 1, 0, size=(3, 2))
    assert ("dy(0, 0)·x(1, 0)", 1, 2) in table.rows and table.extra == ["dy(0, 0)·x(1, 0)"]


def test_the_gradient_of_a_weight_has_a_term_for_every_output():
    table = symbolic.kernel_derivative(lambda a, b, r, c: ((r, c), (r + a, c + b)), 1, 0)
    assert len(table.rows) == 6 and not table.missing and not table.extra
    assert table.formula == r"\sum_{r,c} dy(r, c)\,x(r + 1, c)"


def test_a_function_of_numbers_only_has_a_table_without_a_formula():
    table = symbolic.input_derivative(lambda r, c, a, b: right(r, c, a, b) if r >= a else ((-1, 0), (a, b)), 1, 2)
    assert table.formula == "" and not table.missing and table._repr_markdown_().startswith("$")


def test_what_is_not_two_pairs_is_answered_with_what_is_wanted():
    with pytest.raises(TypeError, match="expected two pairs"):
        symbolic.input_derivative(lambda r, c, a, b: (r - a, c - b), 1, 2)


def test_a_place_outside_is_answered_with_the_size():
    with pytest.raises(ValueError, match="no x\\(3, 0\\): x is 3×4"):
        symbolic.input_derivative(right, 3, 0)
    with pytest.raises(ValueError, match="no k\\(0, 2\\): k is 2×2"):
        symbolic.kernel_derivative(right, 0, 2)


def test_nothing_is_derived_while_nbgrader_grades(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert symbolic.input_derivative(right, 1, 2) is None
    assert symbolic.kernel_derivative(right, 1, 1) is None


def test_without_sympy_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(ModuleNotFoundError, match="pip install sympy"):
        symbolic.input_derivative(right, 1, 2)


def test_a_flow_writes_values_and_gradients():
    _, ax = plt.subplots()
    plots.flow(ax, {"x": (0, 0, "x"), "gate": (1, 0, "× 2"), "f": (2, 0, "f")},
               [("x", "gate", -1.5, 2), ("gate", "f", -3, None)])
    assert sorted(t.get_text() for t in ax.texts if t.get_text()) == sorted(["−1.5", "2", "−3", "x", "× 2", "f"])
    plt.close("all")


def test_three_convolutions_have_a_frame_for_each_product_and_end_with_all_three_results(monkeypatch):
    kept = {}
    monkeypatch.setattr(animation.gradients, "player", lambda fig, draw, frames, interval, alt: kept.update(
        fig=fig, draw=draw, frames=frames))
    rng = np.random.default_rng(1)
    x, k, dy = (rng.integers(-3, 4, shape) for shape in [(3, 4), (2, 2), (2, 3)])
    animation.three_convolutions(x, k, dy)
    assert kept["frames"] == 2 * 3 * 2 * 2
    kept["draw"](kept["frames"] - 1)
    y = [(x[r:r + 2, c:c + 2] * k).sum() for r, c in np.ndindex(2, 3)]
    dk = [(x[a:a + 2, b:b + 3] * dy).sum() for a, b in np.ndindex(2, 2)]
    around = np.pad(dy, 1)
    dx = [(around[r:r + 2, c:c + 2] * k[::-1, ::-1]).sum() for r, c in np.ndindex(3, 4)]
    for ax, expected in zip(np.array(kept["fig"].axes).reshape(3, 3)[:, 2], (y, dk, dx)):
        assert [float(t.get_text().replace("−", "-")) for t in ax.texts] == expected
    plt.close("all")
