"""Drills: the right answers are torch's, the named mistakes are none, and nothing that is typed breaks a session."""

import random
import re

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.solutions import execute
from autograder.sources import KERNELSPEC
from cnnlab import answer, drill, drills
from cnnlab.drills import Session
from cnnlab.questions import KINDS, LEVELS, Layer, Question, ask, seen, through

few = settings(max_examples=150, deadline=None)
questions = {kind: st.builds(lambda rng, level, kind=kind: ask(rng, kind, level), st.builds(random.Random, st.integers(0)),
                             st.integers(0, LEVELS - 1)) for kind in KINDS}


def layers(question: Question) -> list[torch.nn.Module]:
    """What the question shows, read by Python and built by torch."""
    listed = question.text.split("```")[1].strip().splitlines()
    return [eval(f"torch.nn.{line}") for line in listed]  # noqa: S307  our own text


# ------------------------------------------------------------------ the right answers

@few
@given(st.one_of(questions["shape"], questions["pooling"], questions["stack"]))
def test_shapes_are_torchs(question):
    shape = eval(re.search(r"= (\(.*?\)) goes", question.text)[1])  # noqa: S307
    assert torch.nn.Sequential(*layers(question))(torch.zeros(1, *shape)).shape[1:] == question.right


@few
@given(questions["parameters"])
def test_parameters_are_as_many_as_torchs(question):
    (layer,) = layers(question)
    assert question.right == (sum(p.numel() for p in layer.parameters()),)


@few
@given(questions["padding"])
def test_the_padding_keeps_the_size_in_torch(question):
    (layer,) = layers(question)
    layer.padding = question.right * 2 if len(question.right) == 1 else question.right
    assert layer(torch.zeros(1, 8, 13, 17)).shape == (1, 8, 13, 17)


@few
@given(questions["field"])
def test_a_receptive_field_is_what_the_gradient_reaches(question):
    x = torch.ones(1, 1, 600, dtype=torch.float64, requires_grad=True)
    y = x
    for line in question.text.split("```")[1].strip().splitlines():
        given = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}
        weight = torch.ones(1, 1, given.pop("kernel_size"), dtype=torch.float64)
        y = torch.nn.functional.conv1d(y, weight, **given)
    y[0, 0, 0].backward()
    assert question.right == (int(x.grad.nonzero()[:, 2].max()) + 1,)


# ------------------------------------------------------------------ mistakes, working, levels

@few
@given(st.one_of(*questions.values()))
def test_every_mistake_differs_from_the_right_answer(question):
    assert question.right not in question.mistakes.values() and question.causes(question.right) == []
    assert all(len(a) == len(question.wanted) for a in (question.right, *question.mistakes.values()))


@few
@given(st.one_of(*questions.values()))
def test_the_working_ends_at_the_answer_and_adds_up(question):
    for line in question.working:
        line = re.sub(r".*: ", "", line).replace(",", "").replace("·", "*").replace("−", "-")
        line = line.replace("⌊", "int(").replace("⌋", ")").split("C_out * C_in/groups * kH * kW = ")[-1]
        terms = [t for t in line.split(" = ") if re.fullmatch(r"[\dint()+\-*/ ]+", t)]
        assert len({eval(t) for t in terms if re.search(r"\d", t)}) <= 1, line  # noqa: S307
    last = " ".join(question.working[-2:]).replace(",", "")
    assert all(str(number) in " ".join(question.working).replace(",", "") for number in question.right)
    assert str(question.right[-1]) in last


@pytest.mark.parametrize(("kind", "level", "says"), [
    ("shape", 2, "It is rounded up"), ("shape", 2, "The + 1 is missing"), ("shape", 2, "Padding is counted once"),
    ("shape", 3, "Dilation is left out"), ("shape", 0, "The channels are those that go in"),
    ("shape", 4, "The pairs are read the wrong way round"), ("pooling", 0, "The stride of pooling"),
    ("pooling", 1, "The channels are merged"), ("stack", 1, "The last layer is missing"),
    ("parameters", 0, "The biases are missing"), ("parameters", 3, "Groups are left out"),
    ("parameters", 1, "There are no biases here"), ("field", 2, "The strides are left out"),
    ("field", 3, "Strides multiply"), ("field", 4, "Dilation is left out"), ("padding", 0, "both ends together"),
    ("padding", 3, "Between k entries lie k − 1 gaps")])
def test_the_common_misconceptions_can_be_named(kind, level, says):
    rng = random.Random(0)
    asked = [ask(rng, kind, level) for _ in range(30)]
    assert any(says in why for q in asked for v in q.mistakes.values() for why in q.causes(v))


def test_the_misconceptions_give_what_a_hand_calculation_gives():
    layer = [Layer((5, 5), (2, 2), (1, 1), c_in=3, c_out=4)]  # (12 + 2·1 - 5) / 2 = 4.5
    assert [through(layer, (3, 12, 12), **how)[1] for how in ({}, {"up": True}, {"plus": 0}, {"sides": 1})] == [5, 6, 4, 5]
    stack = [Layer((3, 3), (2, 2)), Layer((3, 3), (2, 2)), Layer((3, 3))]
    assert (seen(stack), seen(stack, lambda before, own: 1), seen(stack, start=0)) == (15, 7, 14)


def test_a_cause_is_named_if_it_is_one_of_at_most_two():
    question = Question("", ("n",), (4,), [], {"a": (5,), "b": (5,), "c": (6,), "right": (4,)} | dict.fromkeys("def", (7,)))
    assert [question.causes((n,)) for n in (4, 5, 6, 7, 8)] == [[], ["a", "b"], ["c"], [], []]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", range(LEVELS))
def test_there_is_always_another_question(kind, level):
    rng = random.Random(1)
    asked = [ask(rng, kind, level) for _ in range(40)]
    assert len({q.right for q in asked}) >= 3
    assert all(q.mistakes for q in asked)


# ------------------------------------------------------------------ a session

@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(drills, "_session", Session())
    return drills._session


def test_a_session_counts_climbs_and_falls(session, capsys):
    drill("shape", "field", seed=1)
    for _ in range(LEVELS + 1):
        answer(*session.question.right)
    assert (session.right, session.judged, session.level, session.streak) == (LEVELS + 1, LEVELS + 1, LEVELS - 1, LEVELS + 1)
    assert f"level {LEVELS} of {LEVELS}" in capsys.readouterr().out
    answer(*(n + 10**6 for n in session.question.right))
    assert session.level == LEVELS - 2 and session.streak == 0
    assert f"{LEVELS + 1} of {LEVELS + 2} right." in capsys.readouterr().out
    answer(*session.question.right)
    answer(*session.question.right)
    assert f"{LEVELS + 3} of {LEVELS + 4} right, the last 2 in a row." in capsys.readouterr().out


def test_a_wrong_answer_is_answered_with_the_right_one_the_calculation_and_the_cause(session, capsys):
    drill("parameters", seed=2)
    question = session.question
    why, wrong = next((w, v) for w, v in question.mistakes.items() if "biases are missing" in w)
    answer(*wrong)
    said = capsys.readouterr().out
    assert f"✗ {wrong[0]:,} is not right: it is {question.right[0]:,}." in said
    assert f"Likely cause: {why}" in said
    assert "\n".join(question.working) in said and "**Question 2**" in said


def test_a_right_answer_may_come_as_numbers_a_tuple_or_an_array(session):
    drill("shape", seed=3)
    for form in (lambda c, h, w: (c, h, w), lambda *n: [list(n)], lambda *n: [np.array(n)], lambda *n: map(np.int64, n),
                 lambda *n: map(float, n), lambda *n: [torch.Size(n)]):
        answer(*form(*session.question.right))
    assert session.right == session.judged == 6


@pytest.mark.parametrize(("typed", "says"), [
    ((), "between the brackets: `answer(C, H, W)`"), (("8, 3, 3",), "not str"), ((8, 3), "you gave 2"),
    ((1, 8, 3, 3), "you gave 4"), ((8, 3.5, 3), "whole number"), ((float("nan"),) * 3, "whole number"),
    ((float("inf"),) * 3, "whole number"), ((10**5000,) * 3, "not a huge one"), ((True, 3, 3), "not bool"),
    ((None,), "not NoneType"), ((1j, 2, 3), "not complex"), ((np.array(5),), "you gave 1"), ((print,), "not builtin"),
    (([[8, 3, 3]],), "not list"), ((np.True_, 3, 3), "not bool"), (([],), "between the brackets")])
def test_what_is_no_answer_gets_a_sentence_and_is_not_counted(session, capsys, typed, says):
    drill("shape", seed=4)
    question = session.question
    answer(*typed)
    said = capsys.readouterr().out
    assert says in said and "This was not counted." in said
    assert session.question is question and session.judged == 0


def test_a_cell_that_is_run_twice_is_counted_once(session, capsys):
    drill("field", seed=5)
    wrong = session.question.right[0] + 1
    answer(wrong)
    for _ in range(3):
        assert session.question.right != (wrong,)
        answer(wrong)
    assert session.judged == 1 and "judged already" in capsys.readouterr().out


def test_without_a_question_it_says_how_to_get_one(session, capsys):
    answer(5)
    assert "Run `drill()` first" in capsys.readouterr().out


def test_an_unknown_kind_is_answered_with_the_known_ones(session):
    with pytest.raises(ValueError, match="choose from shape, padding, parameters, field, pooling, stack"):
        drill("shapes")


def asked_in(seed, monkeypatch):
    monkeypatch.setattr(drills, "_session", Session())
    drill("shape", "pooling", seed=seed)
    texts = []
    for i in range(6):
        texts.append(drills._session.question.text)
        answer(*drills._session.question.right if i != 3 else (1, 1, 1))
    return texts


def test_a_seed_brings_the_same_questions_again_and_without_one_they_are_fresh(monkeypatch):
    assert asked_in(7, monkeypatch) == asked_in(7, monkeypatch) != asked_in(8, monkeypatch)
    assert asked_in(None, monkeypatch) != asked_in(None, monkeypatch)


def test_nothing_is_asked_while_grading(session, monkeypatch, capsys):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert drill() is None and answer(3) is None
    assert capsys.readouterr().out == "" and session.question is None


def test_in_a_notebook_both_are_shown_as_markdown():
    cells = ["from cnnlab import answer, drill", "drill('field', seed=0)", "answer(10**6)"]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)),
                                        metadata={"kernelspec": KERNELSPEC})
    execute(notebook)
    asked, judged = (c.outputs[0].data["text/markdown"] for c in notebook.cells[1:])
    assert "**Question 1**" in asked and "✗ 1,000,000 is not right" in judged and "**Question 2**" in judged
