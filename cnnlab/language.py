"""Is the text of a kernel in Triton's language, and nothing else?

Triton's interpreter runs a kernel as Python, and so takes much that a GPU does not: NumPy, `0 <= i < n`, `break`.  A kernel
that passes here can do nothing but compute and move values of the tensors that it is given, so a grader may take it out
of its notebook and run it where nothing else of the student's is.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Collection, Iterable

from cnnlab import launch

BUILTINS = {"range", "min", "max", "abs", "float", "int", "len", "print"}
HOST = {"cdiv", "next_power_of_2"}  # of `triton`
# Modules, and what makes other things than the values of Triton's language.
NOT_OF_TL = {"extra", "math", "target_info", "core", "semantic", "standard", "inline_asm_elementwise", "tensor", "tuple",
             "slice", "dtype", "block_type", "pointer_type", "constexpr_type", "tensor_descriptor", "condition", "const"}
OF_VALUES = {"dtype", "shape", "type", "element_ty", "scalar"}  # what a value has beside the functions of a tensor
STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Return, ast.Pass)
EXPRESSIONS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Attribute, ast.Name,
               ast.Constant, ast.Tuple, ast.List, ast.Subscript, ast.Slice, ast.expr_context, ast.operator, ast.unaryop,
               ast.boolop, ast.cmpop)


def kernels(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions under `@triton.jit` at the outermost level, by name; of several with one name the last."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)
            and [ast.unparse(d) for d in node.decorator_list] == ["triton.jit"]}


def constants(tree: ast.Module) -> dict[str, ast.stmt]:
    """The lines `NAME = tl.constexpr(number)` and `NAME: tl.constexpr = number`, by name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "tl.constexpr" and len(value.args) == 1 \
                    and not value.keywords and _is_literal(value.args[0]):
                found[node.targets[0].id] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value \
                and ast.unparse(node.annotation) == "tl.constexpr" and _is_literal(node.value):
            found[node.target.id] = node
    return found


def _is_literal(node):
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant))


def problem(kernel) -> str:
    """What in a kernel (what `@triton.jit` made), or in one that it calls, is not Triton's language; "" if nothing."""
    todo, seen = [kernel], set()
    while todo:
        fn = todo.pop().fn
        seen.add(fn)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
        except (OSError, TypeError, SyntaxError):
            return f"The text of `{fn.__name__}` cannot be read: write it in a cell of the notebook."
        names = fn.__globals__
        called = {name: names[name] for name in fn.__code__.co_names if launch.is_kernel(names.get(name))}
        known = {name for name, value in names.items() if type(value).__name__ == "constexpr"} | set(called)
        (node,) = kernels(tree).values() or [None]
        if node is None:
            return f"`{fn.__name__}` has to stand under `@triton.jit` alone."
        if says := problem_of_text(node, known):
            return says
        todo += [k for k in called.values() if k.fn not in seen]
    return ""


def problem_of_text(function: ast.FunctionDef, known: Collection[str]) -> str:
    """What in the text of a kernel is not Triton's language, in a sentence; "" if nothing.

    known: the names of other kernels and of constants that it may use.
    """
    try:
        _Reader(function, known).read()
    except _Foreign as e:
        return f"`{function.name}` cannot be a kernel: {e}"
    return ""


class _Foreign(Exception):  # noqa: N818
    """Something that is not Triton's language."""


class _Reader:
    def __init__(self, function, known):
        self.function = function
        given = function.args
        self.parameters = [a.arg for a in given.args]
        stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.names = {*self.parameters, *stored, *known, *BUILTINS} - {"tl", "triton"}
        self.known = set(known)

    def read(self):
        given = self.function.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs:
            raise _Foreign("its parameters are plain names, without `*` or `/`.")
        if self.function.name in ("tl", "triton") or {"tl", "triton"} & set(self.parameters):
            raise _Foreign("`tl` and `triton` keep their meaning.")
        for value in (*given.defaults, *(a.annotation for a in given.args if a.annotation), *(
                [self.function.returns] if self.function.returns else [])):
            self._expression(value)
            if any(isinstance(n, ast.Call) and ast.unparse(n.func) != "tl.constexpr" for n in ast.walk(value)):
                raise _Foreign(f"`{_short(value)}` in its first line would be called when it is defined.")
        self._statements(self.function.body)

    def _statements(self, body: Iterable[ast.stmt]):
        for node in body:
            if isinstance(node, ast.Raise) and ast.unparse(node) == "raise NotImplementedError()":
                continue  # not written yet
            if isinstance(node, ast.Break | ast.Continue):
                raise _Foreign(f"Triton's loops have no `{ast.unparse(node)}`. A mask says which lanes take part.")
            if isinstance(node, ast.Import | ast.ImportFrom):
                raise _Foreign("nothing can be imported in it.")
            if not isinstance(node, STATEMENTS):
                raise _Foreign(f"`{_first_line(node)}` is Python, and not Triton's language.")
            if isinstance(node, ast.For):
                called = ast.unparse(node.iter.func) if isinstance(node.iter, ast.Call) else ""
                if called not in ("range", "tl.range", "tl.static_range") or node.orelse:
                    raise _Foreign(f"`{_first_line(node)}`: a loop in a kernel goes over a `range`.")
            for name, value in ast.iter_fields(node):
                if name in ("body", "orelse"):
                    self._statements(value)
                elif name != "type_comment":
                    for part in value if isinstance(value, list) else [value]:
                        if isinstance(part, ast.AST):
                            self._expression(part)

    def _expression(self, node):
        if not isinstance(node, EXPRESSIONS):
            raise _Foreign(f"`{_short(node)}` is Python, and not Triton's language.")
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            a, b = node.left, node.comparators[0]
            raise _Foreign(f"Triton has no `{_short(node)}`. Write two comparisons with `&` between them, each in brackets, "
                           f"as in `({ast.unparse(ast.Compare(a, node.ops[:1], [b]))}) & (…)`.")
        if isinstance(node, ast.Compare) and not isinstance(
                node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
            raise _Foreign(f"`{_short(node)}` is Python, and not Triton's language.")
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and (
                node.func.id not in BUILTINS | self.known or node.func.id in self.parameters):
            raise _Foreign(f"`{node.func.id}` is neither a kernel nor one of Triton's functions (`tl.`…).")
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name | ast.Attribute):
            raise _Foreign(f"`{_short(node)}` is Python, and not Triton's language.")
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str | None.__class__):
            raise _Foreign(f"`{_short(node)}` is Python, and not Triton's language.")
        for child in ast.iter_child_nodes(node):
            self._expression(child)
        return None

    def _name(self, node):
        if node.id in ("tl", "triton") and isinstance(node.ctx, ast.Load) or node.id in self.names:
            return
        raise _Foreign(f"it uses `{node.id}`, and a kernel knows only its parameters, other kernels, and constants made with "
                       "`tl.constexpr`.")

    def _attribute(self, node):
        owner = ast.unparse(node.value)
        if owner == "triton":
            if node.attr not in HOST:
                raise _Foreign(f"`triton.{node.attr}` is not for use inside a kernel.")
        elif owner == "tl":
            if node.attr not in _names_of_tl():
                raise _Foreign(f"there is no `tl.{node.attr}` in Triton's language.")
        elif owner == "tl.math":
            if node.attr not in _names_of_tl("math"):
                raise _Foreign(f"there is no `tl.math.{node.attr}` in Triton's language.")
        else:
            self._expression(node.value)
            if node.attr not in _names_of_values() or not isinstance(node.ctx, ast.Load):
                raise _Foreign(f"values in a kernel have no `.{node.attr}`.")


@functools.cache
def _names_of_tl(module=""):
    import triton.language as tl

    place = getattr(tl, module) if module else tl
    public = getattr(place, "__all__", None) or [n for n in vars(place) if not n.startswith("_") and callable(getattr(tl, n, None))]
    return set(public) - NOT_OF_TL


@functools.cache
def _names_of_values():
    import triton.language as tl

    return OF_VALUES | {name for name in dir(tl.tensor) if not name.startswith("_")}


def _short(node):
    return ast.unparse(node)[:60]


def _first_line(node):
    return ast.unparse(node).splitlines()[0][:60]
