"""Similarity of code: blind to names and layout, low for other code, and quiet about what proves nothing."""

import ast
import inspect
import io
import keyword
import random
import string
import textwrap
import time
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.exercise import load_all
from autograder.similar import LONG, normalise, pairs

CODE = '''def conv2d(x, weight, bias=None, *, stride=1):
    """Slide the kernels."""
    n, c, h, w = x.shape
    out = np.zeros((n, len(weight), h, w))
    # every place
    for i, image in enumerate(x):
        for j, kernel in enumerate(weight):
            for r in range(0, h, stride):
                total = sum(image[k, r] @ kernel[k, 0] for k in range(c) if r < h)
                out[i, j, r // stride] = total + (0 if bias is None else bias[j])
    if out.size == 0:
        raise ValueError(f"nothing fits: {x.shape} and {stride=}")
    return np.ascontiguousarray(out, dtype=float)
'''
OWN = "conv2d x weight bias stride n c h w out i image j kernel r total k".split()


def similarity(a, b):
    found = pairs({"a": a, "b": b}, least=0)
    return found[0].similarity if found else 0.0


def renamed(code, names):
    """`code` with other names, by its syntax tree: so also laid out anew, without comments."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            if getattr(node, field, None) in names and not isinstance(node, ast.keyword):
                setattr(node, field, names[getattr(node, field)])
    return ast.unparse(tree)


def answers():
    """Correct answers and mistakes of notebook 02 that are functions of their own, by exercise."""
    for e in load_all()["02_convolution"]:
        functions = {*e.alternatives, *(m.run for m in e.mistakes)}
        sources = {f.__name__: textwrap.dedent(inspect.getsource(f)) for f in functions}
        yield e, {n: s for n, s in sources.items() if s.startswith("def ") and n != "run"}


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_new_names_change_nothing(rng):
    letters = string.ascii_lowercase
    names = {a + b + end for a in letters for b in ["", *letters] for end in ("", "_", "1", "_2")} - {"np", *keyword.kwlist}
    new = rng.sample(sorted(names), len(OWN))
    assert similarity(CODE, renamed(CODE, dict(zip(OWN, new)))) == 1


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_layout_comments_and_docstrings_change_nothing(rng):
    lines = []
    for line in CODE.replace("Slide the kernels.", rng.choice(["", "Quite another text.\n\n    Longer."])).splitlines():
        wide = "" if '"""' in line or "Longer" in line else rng.choice(["", "  ", "  # noted", " #"])
        lines += [line + wide, *[""] * rng.randint(0, 2)]
    text = "\n".join(lines).replace("    ", " " * rng.randint(1, 6)).replace("(n, len(weight), h, w)",
                                                                            "(\n n,\n len(weight), h, w,)")
    ast.parse(text)
    assert similarity(CODE, text) == 1


def test_it_is_symmetric():
    for _, functions in answers():
        names = sorted(functions)
        for a, b in zip(names, names[1:]):
            assert similarity(functions[a], functions[b]) == similarity(functions[b], functions[a])


def test_correct_answers_written_differently_are_not_alike():
    for exercise, functions in answers():
        correct = {f.__name__ for f in exercise.alternatives}
        assert pairs({n: s for n, s in functions.items() if n in correct}, least=0.5) == []


def test_answers_that_differ_in_a_word_are_alike():
    (functions,) = [functions for e, functions in answers() if e.id == "cross_correlate1d"]
    assert [(p.a, p.b) for p in pairs(functions)] == [("corr1d_loops", "corr1d_overwrites")]


def test_one_changed_line_leaves_most_of_it():
    changed = CODE.replace("r // stride", "r // stride, 0")
    assert 0.7 < similarity(CODE, changed) < 1


def test_which_variable_stands_where_counts():
    assert similarity(CODE, CODE.replace("image[k, r] @ kernel[k, 0]", "image[k, r] @ kernel[r, 0]")) < 1


def test_code_that_is_not_python_is_compared_by_its_words():
    broken = CODE.replace("range(c)", "range(c")
    with pytest.raises(SyntaxError):
        ast.parse(broken)
    assert similarity(broken, broken.replace("total", "t").replace("# every place", "# all")) == 1
    assert similarity(broken, CODE) > 0.4


@given(st.text(max_size=200))
def test_any_text_can_be_compared(text):
    assert isinstance(normalise(text), tuple)
    assert pairs({"a": text, "b": text[::-1]}) is not None


@pytest.mark.parametrize("text", ["(" * 100_000, '"""' + "\\x" * 50_000, "x = '\ud800'", "a\0b", "-" * 300_000 + "1",
                                  "def f():\n" + " if x:\n" * 5, "x = '\\d'", "%timeit f()"])
def test_hostile_text_takes_no_time(text):
    start = time.perf_counter()
    pairs({"a": text, "b": text + " "})
    assert time.perf_counter() - start < 5


def test_what_stands_after_a_long_text_is_not_looked_at():
    filler = "".join(f"a{i} = {i}\n" for i in range(LONG // 5))
    assert similarity(filler + CODE, filler) == 1


def test_short_answers_are_not_shown():
    two_lines = "def brighten(image, amount):\n    return np.clip(image + amount, 0, 1)"
    assert pairs({"a": two_lines, "b": two_lines}) == []


def test_what_was_released_or_published_is_not_shown():
    assert pairs({"a": CODE, "b": CODE}, known=[CODE]) == []
    stub = "def conv2d(x, weight):\n" + "".join(f"    part{i} = prepare(x, {i})\n" for i in range(20))
    assert pairs({"a": stub + "    return part1", "b": stub + "    return part2"}, known=[stub]) == []


def test_what_much_of_the_class_wrote_is_not_shown_but_what_two_wrote_is():
    rng = random.Random(0)

    def own():
        return "".join(f"    y = y * {rng.randint(1, 10**6)} + x[{rng.randint(1, 10**6)}]\n" for _ in range(8))
    text = own()
    standard = {f"s{i:02}": CODE for i in range(20)}
    copied = {"ann": CODE + "def more(x, y):\n" + text, "bob": CODE + "def more(p, q):\n" + renamed_lines(text)}
    found = pairs(standard | copied | {f"t{i}": "def f(x, y):\n" + own() for i in range(10)})
    assert [(p.a, p.b, p.similarity) for p in found] == [("ann", "bob", 1.0)]


def renamed_lines(text):
    tokens = tokenize.generate_tokens(io.StringIO("if 1:\n" + text).readline)
    words = [(t.type, {"x": "p", "y": "q"}.get(t.string, t.string)) for t in tokens]
    return tokenize.untokenize(words).split("\n", 1)[1]


def test_the_most_alike_come_first_and_the_order_is_always_the_same():
    changed = CODE.replace("r // stride", "r // stride, 0")
    sources = {"d": changed, "c": CODE, "b": CODE, "a": changed.replace("is None", "is 1")}
    found = pairs(sources, least=0.5)
    assert (found[0].a, found[0].b) == ("b", "c")
    assert [p.similarity for p in found] == sorted((p.similarity for p in found), reverse=True)
    assert found == pairs(dict(reversed(sources.items())), least=0.5)


def test_a_thousand_students_are_compared_in_seconds():
    rng = random.Random(1)
    sources = {}
    for i in range(1000):
        lines = [f"    total = total + x[{rng.randint(0, 20)}] * w[{rng.randint(0, 20)}]" for _ in range(10)]
        sources[f"s{i:04}"] = "def f(x, w):\n    total = 0\n" + "\n".join(lines) + "\n    return total"
    start = time.process_time()
    pairs(sources)
    assert time.process_time() - start < 10
