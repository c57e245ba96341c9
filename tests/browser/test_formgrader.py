"""What an instructor sees in nbgrader's Formgrader and in the feedback, also of a hostile hand-in."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import nbformat
import pytest

from autograder.cli import main as autograder
from autograder.course import Course
from tests.browser import hostile
from tests.browser.conftest import SCREENSHOTS
from tests.grading.conftest import RIGHT, SLUG, cell

WRONG = "def brighten(image, amount):\n    return np.minimum(image + amount, 1)"
SCORES = {"right": 1, "wrong": 0, "hostile": 1}
MATHJAX = "https://cdnjs.cloudflare.com/ajax/libs/mathjax/"  # the feedback asks for it
PLAIN = "c = get_config()\nc.CourseDirectory.course_id = 'plain'\nc.CourseDirectory.db_url = {!r}\n"


@pytest.fixture(scope="module")
def listener():
    """A server that a hostile hand-in tells what it has done.  hits: the paths it was asked for."""
    hits = []

    class Listen(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listen)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}", hits=hits)
    server.shutdown()
    server.server_close()


def hand_ins(course, listener):
    """Put the three hand-ins in submitted/."""
    for student in SCORES:
        notebook = nbformat.read(course.root / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
        cell(notebook, "brighten").source = WRONG if student == "wrong" else RIGHT
        if student == "hostile":
            answer = cell(notebook, "written_changed_input")
            answer.source += f"\n\nwords of answer <script>{hostile.marks('answer', listener)}</script>"
            hostile.make(notebook, listener)
        else:
            cell(notebook, "written_changed_input").source += "\n\nThe caller's array changes: $x \\mathrel{+}= a$."
        place = course.root / "submitted" / student / SLUG
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{SLUG}.ipynb")


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory, listener):
    """A course with three hand-ins, none graded."""
    course = Course.init(tmp_path_factory.mktemp("handed") / "course")
    course.release([SLUG])
    hand_ins(course, listener.address)
    return course


@pytest.fixture(scope="module")
def graded(handed_in, tmp_path_factory):
    """The same course graded by `autograder grade`, with feedback."""
    root = shutil.copytree(handed_in.root, tmp_path_factory.mktemp("graded") / "course")
    assert autograder(["grade", "--course", str(root)]) == 0
    assert autograder(["feedback", "--course", str(root)]) == 0
    return Course.open(root)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, handed_in):
    """The hostile hand-in graded by nbgrader as it comes, without any setting of ours."""
    root = tmp_path_factory.mktemp("plain") / "course"
    shutil.copytree(handed_in.root / "source" / SLUG, root / "source" / SLUG)
    (root / "nbgrader_config.py").write_text(PLAIN.format(f"sqlite:///{root}/gradebook.db"))
    nbgrader(root, "generate_assignment", SLUG)
    shutil.copytree(handed_in.root / "submitted" / "hostile", root / "submitted" / "hostile")
    path = root / "submitted" / "hostile" / SLUG / f"{SLUG}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if hostile.SHORT not in str(c.metadata)]  # nbgrader would stop
    nbformat.write(notebook, path)
    nbgrader(root, "autograde", SLUG)
    nbgrader(root, "generate_feedback", SLUG)
    return Course(root)


def nbgrader(root, *arguments):
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def grades(course):
    """All that the grade book knows of each cell, by student and cell."""
    with course.gradebook() as book:
        return {(s, g.name): (g.auto_score, g.manual_score, g.max_score, g.needs_manual_grade)
                for s in SCORES for g in book.find_submission_notebook(SLUG, SLUG, s).grades}


def grading_view(address, course, student):
    with course.gradebook() as book:
        return f"{address}/formgrader/submissions/{book.find_submission_notebook(SLUG, SLUG, student).id}/"


@dataclass
class Watch:
    """What a page does: dialogs, windows it opens, errors, and requests that are not for its own files.

    pressed: the address of the link on the web that is being pressed; the page stays where it is.
    """

    page: object
    own: str
    pressed: str = ""

    def __post_init__(self):
        self.dialogs, self.windows, self.errors, self.asked, self.written = [], [], set(), [], []
        self.page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.page.on("popup", lambda p: self.windows.append(p.url))
        self.page.on("pageerror", lambda e: self.errors.add(str(e)))
        self.page.on("console", lambda m: m.type == "error" and not m.location["url"].startswith(MATHJAX)
                     and self.errors.add(m.text))
        self.page.on("request", lambda r: r.method != "GET" and self.written.append(r.url))
        self.page.route(lambda url: not url.startswith((self.own, "data:")), self._elsewhere)

    def _elsewhere(self, route):
        if route.request.url.startswith(MATHJAX):
            route.abort()
        elif route.request.is_navigation_request() and route.request.url == self.pressed:
            route.fulfill(status=204)
        else:
            self.asked.append(route.request.url)
            route.continue_()

    def touch_everything(self):
        """Move over, focus and press all that stands in the notebook, but not Formgrader's own boxes."""
        before = re.split("[?#]", self.page.url)[0]
        self.page.evaluate("""() => {
            for (const e of document.querySelectorAll('.text_cell_render *, .output *'))
                for (const kind of ['mouseover', 'mouseenter', 'pointerover', 'focus', 'focusin', 'toggle', 'submit'])
                    e.dispatchEvent(new Event(kind, {bubbles: true}));
        }""")
        found = self.page.locator("#notebook-container").first.locator(
            "a, area, button:not(.btn), summary, form *, [onclick], label, [href]")
        for i in range(found.count()):
            self.pressed = found.nth(i).evaluate("e => /^https?:/.test(e.href) ? e.href : ''")
            found.nth(i).dispatch_event("click")
            self.page.wait_for_timeout(50)
            assert re.split("[?#]", self.page.url)[0] == before
        self.pressed = ""
        return found.count()


def words(text):
    return set(re.findall(r"\w+", text.replace("_", " ")))


def look(page, url, listener, own):
    """Open a page, wait for what comes late, touch all of it, and return what it did."""
    listener.hits.clear()
    watch = Watch(page, own)
    page.goto(url)
    page.wait_for_timeout(1000 * hostile.LATER + 1000)
    assert page.url.split("?")[0] == url  # Formgrader adds ?index=
    watch.touched = watch.touch_everything()
    page.wait_for_timeout(500)
    return watch


def assert_nothing_ran(page, watch, listener, title):
    assert page.evaluate("window.__pwned") is None
    assert listener.hits == [] and watch.asked == [] and watch.written == []
    assert watch.dialogs == [] and watch.windows == []
    assert page.title() == title


def assert_all_is_readable(page, listener):
    shown = page.locator("#notebook-container").first.inner_text()
    for text in hostile.texts(listener).values():
        assert words(html.unescape(text)) - words(shown) <= words("words of attached a b")  # an image stands in place of its text
    for name in ("attached", "raw", "plainraw", "answer"):
        assert f"words of {name}" in shown
    printed = "\n".join(page.locator(".output").all_inner_texts())
    assert [n for n in hostile.outputs(listener) if f"words of {n}" not in printed] == []


def shown_score(page):
    """What Formgrader has in the box of the check, in grey as it comes from the autograder."""
    page.wait_for_function("document.getElementById('check_brighten').placeholder")
    return page.locator("#check_brighten").get_attribute("placeholder")


def photograph(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


# ---- The same result three ways ----

def test_the_button_gives_the_scores_of_both_commands(page, lab, handed_in, graded, listener, tmp_path):
    listener.hits.clear()
    by_nbgrader = Course.open(shutil.copytree(handed_in.root, tmp_path / "nbgrader"))
    nbgrader(by_nbgrader.root, "autograde", SLUG)
    by_button = Course.open(shutil.copytree(handed_in.root, tmp_path / "button"))
    page.goto(f"{lab(by_button.root)}/formgrader/manage_submissions/{SLUG}")
    for student, points in SCORES.items():
        row = page.locator("tr").filter(has=page.locator("td.student-id", has_text=student))
        row.get_by_text("needs autograding").wait_for()
        row.locator("td.autograde a").click()
        page.get_by_text(f"Successfully autograded '{SLUG}' for student '{student}'").wait_for()
        photograph(page, f"formgrader-autograded-{student}")
        if student == "hostile":  # what was mended stands in nbgrader's log, with the student's own names
            page.get_by_text(f"tag was dropped: {hostile.SHORT}").wait_for()
        page.get_by_role("button", name="OK").click()
        page.locator(".modal").wait_for(state="detached")
        row.get_by_text("needs manual grading").wait_for()
        assert row.locator("td.score").inner_text() == f"{points} / 3"
    assert page.evaluate("window.__pwned") is None and listener.hits == []
    assert grades(by_button) == grades(by_nbgrader) == grades(graded)
    for course in (by_button, by_nbgrader, graded):
        assert {r.student: r.score for r in course.rows()} == SCORES
        assert {r.by_hand for r in course.rows()} == {1}
        assert all("room=warm" in (course.root / "logs" / s / f"{SLUG}.log").read_text() for s in SCORES)
    texts = [re.sub(r"seconds|[\d.]+", "", str(c.autograded("hostile", SLUG).cells[-30:]))
             for c in (by_button, by_nbgrader, graded)]
    assert texts[0] == texts[1] == texts[2]


# ---- What is shown ----

def test_an_instructor_reads_why_an_answer_is_wrong_and_gives_points(page, lab, graded):
    address = lab(graded.root)
    watch = Watch(page, address)
    page.goto(grading_view(address, graded, "wrong"))
    page.wait_for_function("formgrader.loaded && document.querySelector('.text_cell_render .MathJax')")
    assert watch.asked == [] and watch.errors == set()  # formulas need no network
    box = page.locator("#check_brighten")
    assert shown_score(page) == "0"
    check = page.locator(".cell").filter(has=box)
    check.get_by_text("Likely cause").wait_for()
    check.get_by_text("values below 0 are not").wait_for()
    photograph(page, "formgrader-wrong")
    check.screenshot(path=SCREENSHOTS / "formgrader-wrong-check.png")
    written = page.locator("#written_changed_input")
    with page.expect_response(lambda r: r.request.method == "PUT"):
        written.fill("1.5")
        written.press("Tab")
    assert {r.student: r.score for r in graded.rows()} == SCORES | {"wrong": 1.5}


def test_nothing_of_a_hostile_hand_in_runs_in_formgrader(chromium, page, lab, graded, listener):
    address = lab(graded.root)
    usual = chromium.new_page()
    expected = look(usual, grading_view(address, graded, "right"), listener, address).errors
    usual.close()
    watch = look(page, grading_view(address, graded, "hostile"), listener, address)
    photograph(page, "formgrader-hostile")
    assert_nothing_ran(page, watch, listener, SLUG)
    assert watch.errors <= expected
    assert watch.touched > 3
    assert page.locator("#check_brighten").count() == 1
    assert shown_score(page) == "1"
    assert_all_is_readable(page, listener.address)
    # MathJax runs, and makes no link of such a formula even if it came through.
    page.evaluate("""() => new Promise(done => {
        const made = document.createElement('p');
        made.id = 'made';
        made.textContent = '$\\\\href{javascript:window.__pwned=1}{\\\\style{position:fixed}{x}}$';
        document.getElementById('notebook-container').append(made);
        MathJax.Hub.Queue(['Typeset', MathJax.Hub, made], done);
    })""")
    assert page.locator("#made .MathJax").count() == 1
    assert page.locator("#made [href], #made .MathJax [style*=fixed]").count() == 0
    for node in page.locator("#made *").all():
        node.dispatch_event("click")
    assert page.evaluate("window.__pwned") is None


def test_nothing_of_a_hostile_hand_in_runs_in_the_feedback(page, graded, listener):
    path = graded.feedback_page("hostile", SLUG)
    watch = look(page, path.as_uri(), listener, path.as_uri())
    photograph(page, "feedback-hostile")
    assert_nothing_ran(page, watch, listener, SLUG)
    assert watch.errors == set()
    assert_all_is_readable(page, listener.address)
    page.goto(graded.feedback_page("wrong", SLUG).as_uri())
    photograph(page, "feedback-wrong")


# ---- The same without us ----

def test_without_us_it_runs_in_formgrader_and_in_the_feedback(page, lab, plain, listener):
    address = lab(plain.root)
    for url in (grading_view(address, plain, "hostile"), plain.feedback_page("hostile", SLUG).as_uri()):
        listener.hits.clear()
        Watch(page, address)
        page.goto(url, wait_until="commit")
        page.wait_for_function("window.__pwned && document.title == 'pwned'")
        page.wait_for_timeout(500)
        assert {"/script", "/imgerror", "/outhtml"} <= set(listener.hits)
