"""What a student and an instructor see in JupyterLab."""

from __future__ import annotations

import json
import shutil
import urllib.request

import nbformat

from autograder.cli import main as autograder
from autograder.lab import fill
from autograder.sources import KERNELSPEC, SOLUTIONS
from tests.browser.conftest import SCREENSHOTS


def cell(page, text):
    return page.locator(".jp-CodeCell").filter(has_text=text).first


def run(page, where):
    where.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")


def write(page, where, code):
    where.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")


def test_a_student_does_an_exercise_wrong_then_right(page, lab, tmp_path):
    work = tmp_path / "work"
    fill(work)
    page.goto(f"{lab(work)}/lab/tree/00_start_here.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # what runs before that is lost
    run(page, cell(page, "from cnnlab import check"))
    exercise, check = cell(page, "def brighten(image, amount)"), cell(page, 'check("brighten", brighten)')

    run(page, exercise)
    run(page, check)
    check.get_by_text("not written yet").wait_for()

    write(page, exercise, "def brighten(image, amount):\n return np.minimum(image + amount, 1)")
    run(page, check)
    check.get_by_text("Likely cause").wait_for()
    check.get_by_text("values below 0 are not").wait_for()
    check.scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    check.locator(".jp-Cell-outputArea").screenshot(path=SCREENSHOTS / "failing-check.png")

    write(page, exercise, "def brighten(image, amount):\n return np.clip(image + amount, 0, 1)")
    run(page, check)
    check.get_by_text("✓ brighten: 1 of 1 point").wait_for()
    page.screenshot(path=SCREENSHOTS / "lab.png")


def test_an_animation_plays_without_the_net(page, lab, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import numpy as np\nfrom cnnlab import animation\n"
        "animation.sliding_window(np.eye(4), np.ones((2, 2)))")], metadata={"kernelspec": KERNELSPEC})
    nbformat.write(notebook, tmp_path / "moving.ipynb")
    elsewhere = []
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:"))
            else None)
    page.goto(f"{lab(tmp_path)}/lab/tree/moving.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run(page, cell(page, "sliding_window"))
    picture, forward = page.locator(".animation img"), page.get_by_role("button", name="Next frame")
    forward.wait_for()
    page.get_by_role("button", name="First frame").click()
    first = picture.get_attribute("src")
    forward.click()
    page.wait_for_function("first => document.querySelector('.animation img').src !== first", arg=first)
    assert not [u for u in elsewhere if "ws://127.0.0.1" not in u]


def test_jupyterlab_comes_with_nbgrader_and_jupytext(lab, tmp_path):
    address = lab(tmp_path)
    with urllib.request.urlopen(f"{address}/lab/api/extensions") as answer:
        names = {e["name"] for e in json.load(answer) if e["enabled"]}
    assert any("nbgrader" in n for n in names) and any("jupytext" in n for n in names), names


def test_a_source_opens_as_a_notebook(lab, tmp_path):
    shutil.copy(SOLUTIONS / "02_convolution.py", tmp_path)
    with urllib.request.urlopen(f"{lab(tmp_path)}/api/contents/02_convolution.py?type=notebook") as answer:
        content = json.load(answer)["content"]
    assert any("exercise:cross_correlate2d" in c["metadata"].get("tags", []) for c in content["cells"])


def test_an_instructor_opens_the_course_in_formgrader(page, lab, tmp_path):
    course = tmp_path / "course"
    assert autograder(["init", str(course)]) == 0
    assert autograder(["release", "--course", str(course)]) == 0
    page.goto(f"{lab(course)}/formgrader")
    page.get_by_text("02_convolution").first.wait_for()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "formgrader.png")
