"""The map of the course shows the notebooks that there are, under their titles, and nothing twice."""

import jupytext
import pytest

from autograder import sources
from cnnlab.course import NOTEBOOKS, PARTS, draw_map


def test_the_map_has_every_notebook_under_its_title():
    titles = {}
    for slug in sources.slugs():
        first = jupytext.read(sources.SOLUTIONS / f"{slug}.py").cells[0].source
        titles[int(slug[:2])] = first.splitlines()[0]
    assert titles == {n.number: f"# {n.number:02} {n.title}" for n in NOTEBOOKS}


def everything_before(number):
    """All notebooks that lead to this one, over however many steps."""
    needs = NOTEBOOKS[number].needs
    return set(needs).union(*map(everything_before, needs))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: str(n.number))
def test_a_notebook_builds_on_earlier_ones_and_names_none_that_another_implies(notebook):
    assert NOTEBOOKS[notebook.number] is notebook
    assert all(n < notebook.number for n in notebook.needs)
    assert 0 in everything_before(notebook.number) or notebook.number == 0
    for other in notebook.needs:
        assert not everything_before(other) & set(notebook.needs)


def test_what_notebook_00_says_of_the_way_to_16():
    assert sorted(everything_before(16)) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_the_parts_cover_the_course():
    assert [n for first, last, _ in PARTS for n in range(first, last + 1)] == [n.number for n in NOTEBOOKS]


def test_no_text_of_the_map_runs_into_another():
    import matplotlib.pyplot as plt

    draw_map()
    fig = plt.gcf()
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)
    plt.close(fig)
