"""Derivatives of a small convolution by SymPy, with a learner's index formula set beside them, term by term."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.notebook import quick


@dataclass(frozen=True)
class Comparison:
    """A learner's sum and SymPy's derivative: how often each term occurs in the one and in the other.

    wanted: what was differentiated, in LaTeX.  formula: the learner's general term, in LaTeX, or "".
    rows: (term, times in SymPy's derivative, times in the learner's sum).
    outside: how many terms of the learner's sum lie outside the arrays and count as 0.
    """

    wanted: str
    formula: str
    rows: tuple[tuple[str, int, int], ...]
    outside: int = 0

    @property
    def missing(self) -> list[str]:
        """The terms that SymPy has and the learner has not, or too seldom."""
        return [term for term, theirs, own in self.rows if own < theirs]

    @property
    def extra(self) -> list[str]:
        """The terms that the learner has and SymPy has not, or too often."""
        return [term for term, theirs, own in self.rows if own > theirs]

    @property
    def verdict(self) -> str:
        """One sentence on the whole."""
        if not self.missing and not self.extra:
            return f"The two sums agree: {len(self.rows)} term{'s' * (len(self.rows) != 1)}."
        return f"The two sums differ: {len(self.extra)} of your terms too much, {len(self.missing)} missing."

    def _repr_markdown_(self):
        head = f"${self.wanted}" + (f" = {self.formula}" if self.formula else "") + "$"
        table = ["| term | SymPy | your sum | |", "|---|---|---|---|"]
        table += [f"| {term} | {theirs or '–'} | {own or '–'} | {_word(theirs, own)} |"
                  for term, theirs, own in self.rows]
        return "\n".join([head, "", *table, "", self.verdict + self._outside()])

    def __str__(self):
        width = max((len(term) for term, _, _ in self.rows), default=4)
        lines = [f"{'term':{width}}  SymPy  your sum"]
        lines += [f"{term:{width}}  {theirs or '–':>5}  {own or '–':>8}  {_word(theirs, own)}".rstrip()
                  for term, theirs, own in self.rows]
        return "\n".join([*lines, self.verdict + self._outside()])

    __repr__ = __str__

    def _outside(self):
        if not self.outside:
            return ""
        return f" Of your terms, {self.outside} lie{'s' * (self.outside == 1)} outside the arrays and count as 0."


def kernel_derivative(indices, a: int, b: int, size=(3, 4), kernel_size=(2, 2)) -> Comparison | None:
    """Compare SymPy's dL/dk(a, b) with the sum over outputs (r, c) of dy(i) x(j), where i, j = indices(a, b, r, c).

    size (H, W) and kernel_size (kH, kW) of the small case: a valid cross-correlation at stride 1.  Returns
    nothing while nbgrader grades.  Raises ModuleNotFoundError if SymPy is missing, TypeError if `indices`
    does not return two pairs of numbers, ValueError if there is no such weight.
    """
    if quick():
        return None
    sympy, x, k, dy, loss = _small_case(size, kernel_size)
    terms = [_pairs(indices, a, b, r, c) for r, c in dy]
    return _compare(sympy, rf"\frac{{\partial L}}{{\partial k({a}, {b})}}", sympy.diff(loss, _at(k, "k", a, b)),
                    [dy.get(i, 0) * x.get(j, 0) for i, j in terms],
                    _formula(sympy, indices, "a b r c", r"\sum_{r,c} dy(%s)\,x(%s)", a, b))


def input_derivative(indices, r: int, c: int, size=(3, 4), kernel_size=(2, 2)) -> Comparison | None:
    """Compare SymPy's dL/dx(r, c) with the sum over weights (a, b) of dy(i) k(j), where i, j = indices(r, c, a, b).

    Otherwise as `kernel_derivative`.
    """
    if quick():
        return None
    sympy, x, k, dy, loss = _small_case(size, kernel_size)
    terms = [_pairs(indices, r, c, a, b) for a, b in k]
    return _compare(sympy, rf"\frac{{\partial L}}{{\partial x({r}, {c})}}", sympy.diff(loss, _at(x, "x", r, c)),
                    [dy.get(i, 0) * k.get(j, 0) for i, j in terms],
                    _formula(sympy, indices, "r c a b", r"\sum_{a,b} dy(%s)\,k(%s)", r, c))


def _small_case(size, kernel_size):
    """SymPy, a symbol for each element of x, k and dy by place, and L = the sum of dy(r, c) y(r, c)."""
    try:
        import sympy
    except ModuleNotFoundError:
        raise ModuleNotFoundError("This table needs SymPy, which is not installed; run `pip install sympy`.") from None

    def array(name, rows, cols):
        return {(i, j): sympy.Symbol(f"{name}({i}, {j})") for i in range(rows) for j in range(cols)}

    (h, w), (kh, kw) = size, kernel_size
    x, k, dy = array("x", h, w), array("k", kh, kw), array("dy", h - kh + 1, w - kw + 1)
    y = {(r, c): sum(x[r + a, c + b] * k[a, b] for a, b in k) for r, c in dy}
    return sympy, x, k, dy, sum(dy[place] * y[place] for place in dy)


def _at(array, name, row, col):
    if (row, col) not in array:
        rows, cols = (i + 1 for i in max(array))
        raise ValueError(f"There is no {name}({row}, {col}): {name} is {rows}×{cols} in this small case.")
    return array[row, col]


def _pairs(indices, *at):
    """What `indices` returns for these numbers, as two pairs of ints."""
    value = indices(*at)
    try:
        (i, j), (p, q) = value
        return (int(i), int(j)), (int(p), int(q))
    except (TypeError, ValueError):
        raise TypeError(f"`{getattr(indices, '__name__', 'The function')}{at}` returned {value!r}, expected two pairs "
                        "of numbers: `(row, column), (row, column)`.") from None


def _formula(sympy, indices, names, pattern, *fixed):
    """The general term with the first two indices at `fixed`, or "" if the function cannot take symbols."""
    try:
        pairs = indices(*fixed, *sympy.symbols(names)[2:])
        return pattern % tuple(", ".join(sympy.latex(sympy.sympify(i)) for i in pair) for pair in pairs)
    except Exception:  # noqa: BLE001  a function of numbers only, with an `if` in it; the table still holds
        return ""


def _compare(sympy, wanted, derivative, terms, formula):
    theirs, own = sympy.expand(derivative).as_coefficients_dict(), sympy.expand(sum(terms)).as_coefficients_dict()
    union = sorted((t for t in {*theirs, *own} if t != 0 and (theirs[t] or own[t])), key=_place)
    rows = tuple((_text(t), int(theirs[t]), int(own[t])) for t in union)
    return Comparison(wanted, formula, rows, sum(t == 0 for t in terms))


def _place(term):
    return sorted(map(str, term.free_symbols))


def _text(term):
    return "·".join(_place(term))


def _word(theirs, own):
    return "" if theirs == own else "missing" if own < theirs else "too much"
