"""The checks are checked: every stub, solution, other right answer and mistake of every exercise."""

import dataclasses
import functools
import json

import pytest

from autograder.build import source_notebooks
from autograder.check_exercises import check_all, functions, summary
from autograder.exercise import draw_hidden, load_all, ship
from autograder.sources import function_name
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import from_json, to_json

SEEDS = 25  # of hidden probes, each as the grader would draw them

ALL = [(slug, e) for slug, entries in load_all().items() for e in entries]


@functools.cache
def results():
    return {r.id: r for r in check_all()}


@pytest.mark.parametrize("exercise", [e for _, e in ALL], ids=lambda e: e.id)
def test_an_exercise_fails_what_is_wrong_and_passes_what_is_right(exercise):
    result = results()[exercise.id]
    assert result.problems == []
    assert result.mistakes >= 5 and result.alternatives >= 2


def test_nine_mistakes_in_ten_are_named_and_none_wrongly():
    total = summary(list(results().values()))
    assert total["caught"] == total["mistakes"]
    assert total["misnamed"] == 0
    assert total["named"] >= 0.9 * total["mistakes"]
    assert total["alternatives_accepted"] == total["alternatives"]


@functools.cache
def solutions(slug):
    return functions(source_notebooks({slug: load_all()[slug]})[slug])[0]


@pytest.mark.parametrize(("slug", "exercise"), ALL, ids=lambda x: getattr(x, "id", ""))
def test_the_solution_passes_whatever_the_grader_draws(slug, exercise):
    name = function_name(slug, exercise.id)
    exercise = dataclasses.replace(exercise, mistakes=[])  # a right answer needs none, and they take long
    shipped = ship(exercise, name)
    for seed in range(SEEDS):
        drawn = draw_hidden(exercise, name, seed)
        if drawn:
            read = from_json(json.loads(json.dumps(to_json(drawn))))
            verdict = judge(shipped, Local(solutions(slug)[exercise.id]), read.probes)
            assert verdict.score == exercise.points, (seed, verdict.shown)


@pytest.mark.parametrize(("slug", "exercise"), ALL, ids=lambda x: getattr(x, "id", ""))
def test_shipped_data_is_small(slug, exercise):
    shipped = to_json(ship(exercise, function_name(slug, exercise.id)))
    assert len(json.dumps(shipped)) < 150_000


def test_every_exercise_has_its_own_id():
    ids = [e.id for _, e in ALL]
    assert len(ids) == len(set(ids))


def test_an_exercise_whose_check_is_too_weak_is_reported(monkeypatch):
    from autograder.check_exercises import check_one

    (brighten,) = load_all()["00_start_here"]
    # Only one probe, with nothing to clip: most mistakes must now pass, and be reported.
    weak = dataclasses.replace(brighten, probes=brighten.probes[3:], random=None)
    result = check_one(weak, "brighten", brighten.oracle, lambda image, amount: None)
    assert result.caught < result.mistakes
    assert any("passes" in p for p in result.problems)
