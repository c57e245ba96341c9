"""Working on one's own in JupyterLab: an exercise begun again, and the view of what is done."""

from __future__ import annotations

from autograder.lab import fill
from cnnlab import outline
from tests.browser.conftest import SCREENSHOTS
from tests.browser.test_lab import cell, run, write

RESET = 'import cnnlab; cnnlab.reset("brighten")'
MINE = "def brighten(image, amount):\n return np.clip(image + amount, 0, 1)  # mine"


def text_of(where):
    return "\n".join(where.locator(".cm-line").all_text_contents())


def test_what_passed_is_shown_and_an_exercise_is_begun_again_in_its_cell(page, lab, tmp_path):
    work = tmp_path / "work"
    fill(work)
    page.goto(f"{lab(work)}/lab/tree/00_start_here.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run(page, cell(page, "from cnnlab import check"))
    exercise, check = cell(page, "def brighten(image, amount)"), cell(page, 'check("brighten", brighten)')
    write(page, exercise, MINE)
    run(page, check)
    check.get_by_text("✓ brighten: 1 of 1 point").wait_for()
    page.keyboard.press("Control+S")

    view = cell(page, "progress()")
    run(page, view)
    view.get_by_text(f"1 of {sum(len(n.exercises) for n in outline.notebooks())} exercises passed").wait_for()
    view.get_by_text("Next: dense_parameters, in 01_why_convolution.ipynb.").wait_for()
    view.get_by_text("Start here").click()
    view.get_by_text("brighten, 1 point: passed on").wait_for()
    view.scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "progress.png")

    write(page, view, RESET)  # not in its cell: nothing changes
    page.get_by_text("Nothing was changed").wait_for()
    assert text_of(exercise) == MINE

    write(page, exercise, RESET)
    page.get_by_text("This cell holds the stub of `brighten` again").wait_for()
    (again,) = [c for c in page.locator(".jp-CodeCell").all() if text_of(c) == outline.exercise("brighten").stub]
    (kept,) = (work / ".cnnlab" / "kept").iterdir()
    assert MINE in kept.read_text()
    run(page, again)
    run(page, check)
    check.get_by_text("not written yet").wait_for()
    page.screenshot(path=SCREENSHOTS / "reset.png")
