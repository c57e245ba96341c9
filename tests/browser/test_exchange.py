"""One whole round through nbgrader's exchange: an instructor and a student, each in a JupyterLab of their own."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from autograder.cli import main as autograder
from autograder.course import Course
from tests.browser.conftest import SCREENSHOTS
from tests.browser.test_lab import cell, run, write
from tests.grading.conftest import RIGHT, SLUG

WRONG = "def brighten(image, amount):\n    return np.minimum(image + amount, 1)"
ANSWER = "The caller's array changes, so the second picture is the original."
COMMENT = "True. What else uses photo afterwards?"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an exchange, set up as docs/instructor.md says, on which a course has released a notebook."""
    settings = tmp_path / "etc"  # stands for /etc/jupyter
    settings.mkdir()
    exchange = str(tmp_path / "exchange")
    (settings / "nbgrader_config.py").write_text(f"c = get_config()\nc.Exchange.root = {exchange!r}\n")
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(settings))
    homes = [tmp_path / who for who in ("instructor", "student")]
    for home in homes:
        home.mkdir()
    course, work = homes[0] / "course", homes[1] / "work"
    work.mkdir()
    assert autograder(["init", str(course)]) == 0
    assert autograder(["release", "00", "--course", str(course)]) == 0
    subprocess.run([sys.executable, "-m", "nbgrader", "release_assignment", SLUG], cwd=course, check=True)
    return SimpleNamespace(course=Course.open(course), work=work, instructor=homes[0], student=homes[1])


@pytest.fixture
def instructor(chromium):
    """The instructor's own browser; `page` is the student's."""
    page = chromium.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(60_000)
    yield page
    page.screenshot(path=SCREENSHOTS / "last-instructor.png")
    page.close()


def photograph(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"exchange-{name}.png", animations="disabled")


def assignment_list(page):
    page.get_by_role("menuitem", name="Nbgrader").click()
    page.get_by_role("menuitem", name="Assignment List").click()
    return page.locator("#assignments")


def validate(page):
    """Press Validate above the notebook, which saves it first; what its box says, which is closed."""
    page.get_by_role("button", name="Validate").first.click()
    box = page.locator(".jp-Dialog").filter(has_text="Validation Results")
    box.wait_for()
    said = box.inner_text()
    photograph(page, f"validate-{'finished' if 'Success' in said else 'unfinished'}")
    box.get_by_role("button", name="Ok").click()
    box.wait_for(state="detached")
    return said


def press(page, row, what, says):
    """Press one of Formgrader's small signs; it answers in a box, which is closed."""
    row.locator(f".{what} a").click()
    page.get_by_text(says).wait_for()
    photograph(page, what)
    page.get_by_role("button", name="OK").click()
    page.locator(".modal").wait_for(state="detached")


def test_a_notebook_goes_to_a_student_and_back_with_points_and_a_comment(page, instructor, lab, machine):
    page.goto(f"{lab(machine.work, machine.student)}/lab")
    fetch_and_work(page)
    submit(page)
    grade(instructor, lab(machine.course.root, machine.instructor), machine.course)
    read_feedback(page)


def fetch_and_work(page):
    assignments = assignment_list(page)
    released = assignments.locator("#released_assignments_list")
    released.get_by_text(SLUG).wait_for()
    photograph(page, "released")
    released.get_by_role("button", name="Fetch").click()
    fetched = assignments.locator("#fetched_assignments_list")
    fetched.get_by_text(SLUG).first.click()
    fetched.locator(".nested_list_item").get_by_text(SLUG).click()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # what runs before that is lost

    said = validate(page)
    assert "brighten: 0 of 1 point, not written yet" in said and "You did not provide a response." in said
    assert said.count("The following cell failed") == 2 and "Partial credit" not in said

    run(page, cell(page, "from cnnlab import check"))
    exercise, check = cell(page, "def brighten(image, amount)"), cell(page, 'check("brighten", brighten)')
    write(page, exercise, WRONG)
    run(page, check)
    check.get_by_text("Likely cause").wait_for()
    write(page, exercise, RIGHT)
    run(page, check)
    check.get_by_text("✓ brighten: 1 of 1 point").wait_for()
    question = page.locator(".jp-MarkdownCell").filter(has_text="Write your answer here").first
    question.dblclick()
    question.locator(".cm-line").filter(has_text="Write your answer here").click(click_count=3)
    page.keyboard.insert_text(ANSWER)
    page.keyboard.press("Shift+Enter")
    photograph(page, "answered")
    assert "Success! Your notebook passes all the tests." in validate(page)


def submit(page):
    assignments = assignment_list(page)
    assignments.locator("#fetched_assignments_list").get_by_role("button", name="Submit").click()
    assignments.locator("#submitted_assignments_list").get_by_text(SLUG).first.wait_for()
    photograph(page, "submitted")


def grade(page, address, course):
    page.goto(f"{address}/formgrader")
    row = page.locator("tr").filter(has=page.locator("td.name", has_text=SLUG))
    press(page, row, "collect", f"Successfully collected submissions of '{SLUG}'")
    row.locator(".num-submissions a").click()
    row = page.locator("tbody tr").first
    press(page, row, "autograde", f"Successfully autograded '{SLUG}'")
    row.get_by_text("needs manual grading").wait_for()

    for link, address_of in (("Manual Grading", "**/gradebook"), (SLUG, f"**/gradebook/{SLUG}"),
                             (SLUG, f"**/gradebook/{SLUG}/{SLUG}"), ("Submission #1", "**/formgrader/submissions/**")):
        page.get_by_role("link", name=link).last.click()
        page.wait_for_url(address_of)
    # What is typed before that is lost.
    page.wait_for_function("window.formgrader?.grades?.loaded && formgrader.comments?.loaded")
    for box, text in (("#written_changed_input", "1.5"), ("#written_changed_input-comment", COMMENT)):
        with page.expect_response(lambda r: r.request.method == "PUT"):
            page.locator(box).fill(text)
            page.locator(box).press("Tab")
    photograph(page, "points")
    page.goto(f"{address}/formgrader/manage_submissions/{SLUG}")
    row.get_by_text("graded", exact=True).wait_for()
    press(page, row, "generate-feedback", f"Successfully generated feedback for '{SLUG}'")
    press(page, row, "release-feedback", f"Successfully released feedback for '{SLUG}'")
    (graded,) = course.rows()
    assert (graded.score, graded.max_score, graded.by_hand) == (2.5, 3, 0)
    assert "room=warm" in (course.root / "logs" / graded.student / f"{SLUG}.log").read_text()


def read_feedback(page):
    submitted = assignment_list(page).locator("#submitted_assignments_list")
    submitted.get_by_role("button", name="Fetch Feedback").click()
    submitted.get_by_text("view feedback").click()
    page.locator(".jp-DirListing-item").filter(has_text=f"{SLUG}.html").dblclick()
    feedback = page.frame_locator(".jp-HTMLViewer iframe")
    feedback.get_by_text("Score: 2.5 / 3.0").wait_for()
    feedback.get_by_text(COMMENT).wait_for()
    photograph(page, "feedback")
