"""The class report: its numbers, that it is one page without a network, and that student text stays text."""

import json
import re
import shutil
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_output

from autograder import class_report
from autograder.class_report import cut, discrimination, gather, histogram
from autograder.course import Course, mark_graded
from autograder.exercise import load_all
from tests.grading.conftest import RIGHT, SLUG, cell

BIG = "02_convolution"
IDS = [e.id for e in load_all()[BIG]]
POINTS = {e.id: e.points for e in load_all()[BIG]}
LOOPS = """def cross_correlate2d(x, kernel):
    H, W = x.shape
    kH, kW = kernel.shape
    y = np.zeros((H - kH + 1, W - kW + 1))
    for r in range(y.shape[0]):
        for c in range(y.shape[1]):
            total = 0.0
            for i in range(kH):
                for j in range(kW):
                    total += x[r + i, c + j] * kernel[kH - 1 - i, kW - 1 - j]
            y[r, c] = total
    return y"""
RENAMED = re.sub(r"\btotal\b", "s", LOOPS).replace("kernel", "k").replace("kH", "a").replace("kW", "b")


def finding(layer="values", mistake="", **more):
    return {"mistake": mistake, "layer": layer, "says": "", "unfinished": False, "ended": "", **more}


class Class:
    """A class whose graded notebooks and grades are written as the engine writes them."""

    def __init__(self, course, slug):
        self.course, self.slug = course, slug
        text = (course.root / "release" / slug / f"{slug}.ipynb").read_text()
        self.released = nbformat.reads(text, as_version=4)
        self.entries = []

    def add(self, student, share=1.0, found=None, code=None, about=None, scores=None, stopped="", by_hand=False):
        """One graded submission.  share: of all points; scores, found and code: by exercise."""
        notebook = nbformat.from_dict(json.loads(json.dumps(self.released)))
        notebook.metadata["cnnlab"] = {"seed": 7, "room": "warm", "repairs": [], **(about or {})}
        for name, source in (code or {}).items():
            cell(notebook, name).source = source
        own = {}
        for exercise in (e.id for e in load_all()[self.slug]):
            check = cell(notebook, f"check_{exercise}")
            own[exercise] = (scores or {}).get(exercise, share * check.metadata.nbgrader.points)
            meta = {"cnnlab": (found or {}).get(exercise, finding("") if own[exercise] else finding())}
            check.outputs = [new_output("execute_result", {"text/plain": f"{own[exercise]}"}, metadata=meta)]
        if stopped:
            notebook.cells[2].outputs = [new_output("error", ename="Stopped", evalue=stopped, traceback=[])]
        for folder in ("submitted", "autograded"):
            place = self.course.root / folder / student / self.slug
            place.mkdir(parents=True)
            (place / f"{self.slug}.ipynb").write_text(json.dumps(notebook))
        self.entries.append((student, own, by_hand))
        return self

    def done(self, monkeypatch):
        """Enter everything in the grade book and mark it as graded."""
        monkeypatch.chdir(self.course.root)
        with self.course.gradebook() as book:
            for student, own, by_hand in self.entries:
                book.update_or_create_student(student)
                submission = book.add_submission(self.slug, student)
                for grade in submission.notebooks[0].grades:
                    grade.auto_score = own.get(grade.name.removeprefix("check_"))
                    grade.needs_manual_grade = by_hand and grade.auto_score is None
            book.db.commit()
        mark_graded(self.slug, "*", [f"submitted/{s}/{self.slug}/{self.slug}.ipynb" for s, *_ in self.entries])
        return self.course


@pytest.fixture(scope="session")
def released_big(tmp_path_factory):
    course = Course.init(tmp_path_factory.mktemp("big") / "course")
    course.release([BIG])
    return course.root


@pytest.fixture
def group(released_big, tmp_path):
    return Class(Course.open(shutil.copytree(released_big, tmp_path / "big")), BIG)


@pytest.fixture
def sixty(group, monkeypatch):
    """Sixty students whose scores follow their ability, but for `rotate180`, which follows nothing."""
    rng = np.random.default_rng(1)
    for i in range(60):
        ability = i / 60
        scores = {e: POINTS[e] * float(rng.random() < 0.15 + 0.8 * ability) for e in IDS}
        scores["rotate180"] = POINTS["rotate180"] * (i % 2)
        found = {}
        if not scores["cross_correlate2d"]:
            found["cross_correlate2d"] = finding("values", "flips_the_kernel" if i % 2 else "")
        if not scores["fft_convolve2d"]:
            found["fft_convolve2d"] = finding("call", unfinished=True) if i % 3 else finding("shape")
        filler = "".join(f"    a{i * 7 + n} = x * {i * 31 + n * n} + kernel\n" for n in range(8))
        code = {"cross_correlate2d": f"def cross_correlate2d(x, kernel):\n{filler}    return a{i * 7}"}
        group.add(f"student {i:02}", scores=scores, found=found, code=code, by_hand=i < 5)
    return group.done(monkeypatch)


def page(course, tmp_path):
    return class_report.write(course, tmp_path / "report.html").read_text()


class Outline(HTMLParser):
    """What is in a page: its tags, with their attributes."""

    VOID = {"meta", "link", "br", "img", "hr"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.unbalanced = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # <rect/>
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def test_a_really_graded_class_is_reported_also_without_the_engines_notes(course, submission, hand_in, tmp_path):
    answered = submission(RIGHT)
    cell(answered, "written_changed_input").source = "The photo itself would change."
    hand_in("ann", answered)
    hand_in("bob", submission("def brighten(image, amount):\n    return image + amount"))
    hand_in("eve", "{ not json")
    list(course.grade(course.submissions([SLUG], []), workers=1))
    about = gather(course)
    assert about["students"] == ["ann", "bob", "eve"]
    assert [r.student for r, _ in about["failed"]] == ["eve"]
    brighten, written = about["items"][SLUG]
    assert brighten.mean == 0.5 and brighten.discrimination is None and not brighten.written
    assert written.written and (written.answers, written.mean) == (1, 0)  # bob's, which he left empty
    text = page(course, tmp_path)
    assert "1 written answer by 1 student still wait to be graded by hand" in text and "not graded" in text


def test_the_reason_that_the_engine_wrote_is_shown(course, hand_in, tmp_path):
    hand_in("eve", "{ not json")
    assert "not graded yet" in page(course, tmp_path)
    (course.root / ".graded" / "eve").mkdir(parents=True)
    (course.root / ".graded" / "eve" / f"{SLUG}.why").write_text("it is not a <notebook>.")
    assert "it is not a &lt;notebook&gt;." in page(course, tmp_path)


def test_an_empty_course_has_a_report(course, tmp_path):
    assert "Near-identical code" in page(course, tmp_path)


def test_the_page_needs_no_network_and_no_script_and_is_well_formed(sixty, tmp_path):
    outline = Outline(page(sixty, tmp_path))
    assert not outline.unbalanced and not outline.open
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in outline.tags}
    for tag, attributes in outline.tags:
        assert not [a for a in attributes if a.startswith("on") or a == "src"]
        assert attributes.get("href", "#").startswith("#")
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in outline.tags if tag == "a"} <= set(ids)


def test_the_page_can_be_read_aloud(sixty, tmp_path):
    tags = Outline(page(sixty, tmp_path)).tags
    names = [tag for tag, _ in tags]
    assert ("html", {"lang": "en"}) in tags and names.count("h1") == 1 and "main" in names
    assert names.count("caption") == names.count("table") > 0
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    assert names.count("title") == names.count("svg") + 1 and names.count("desc") == names.count("svg")
    levels = [int(tag[1]) for tag in names if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:]))  # no level is left out


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(sixty, tmp_path, theme):
    root, dark = re.findall(r":root \{([^}]*)\}", page(sixty, tmp_path))
    colours = dict(re.findall(r"--(\w+): (#\w+)", root))
    if theme == "dark":
        colours |= dict(re.findall(r"--(\w+): (#\w+)", dark))
    for text, backs in {"text": "back band warnback badback", "soft": "back band", "warn": "back",
                        "bad": "back badback"}.items():
        for back in backs.split():
            assert contrast(colours[text], colours[back]) >= 4.5, (text, back)


def contrast(a, b):
    """The contrast ratio of two colours, as WCAG 2 defines it."""
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
        parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_an_item_that_follows_ability_discriminates_and_one_that_does_not_is_worth_a_look(sixty, tmp_path):
    items = {i.exercise: i for i in gather(sixty)["items"][BIG]}
    assert items["cross_correlate2d"].discrimination > 0.2
    assert items["rotate180"].low and items["rotate180"].mean == 0.5
    row = re.search(r"<tr><th scope=\"row\">rotate180.*?</tr>", page(sixty, tmp_path), re.S)[0]
    assert "worth a look" in row


def test_discrimination_is_the_correlation_with_the_other_items(sixty):
    with sixty.gradebook() as book:
        scores = {s.student.id: {g.name: g.score for g in s.grades} for s in book.notebook_submissions(BIG, BIG)}
    checks = [f"check_{e}" for e in IDS]
    table = np.array([[own[c] for c in checks] for own in scores.values()])
    items = {item.exercise: item for item in gather(sixty)["items"][BIG]}
    for i, exercise in enumerate(IDS):
        expected = np.corrcoef(table[:, i], np.delete(table, i, 1).sum(1))[0, 1]
        assert items[exercise].discrimination == pytest.approx(expected)


def test_discrimination_is_unknown_for_few_students_or_equal_scores():
    rising = np.arange(10.0)
    assert discrimination(rising, rising) == pytest.approx(1)
    assert discrimination(rising[:9], rising[:9]) is None
    assert discrimination(np.ones(10), rising) is None and discrimination(rising, np.ones(10)) is None


def test_shares_of_unfinished_answers_and_of_layers(group, monkeypatch):
    for i in range(10):
        found = finding("call", unfinished=True) if i < 3 else finding("shape") if i < 5 else finding("")
        group.add(f"s{i}", found={"convolve1d": found})
    item = gather(group.done(monkeypatch))["items"][BIG][0]
    assert item.exercise == "convolve1d" and item.unfinished == 0.3 and item.layers == [("shape", 0.2)]


def test_misconceptions_come_by_frequency_with_the_shortest_code(group, monkeypatch, tmp_path):
    mistakes = {e.id: e.mistakes for e in load_all()[BIG]}
    often, rare = mistakes["convolve1d"][0], mistakes["rotate180"][0]
    for i in range(3):
        group.add(f"s{i}", scores={"convolve1d": 0}, found={"convolve1d": finding("values", often.name)},
                  code={"convolve1d": "def convolve1d(x, h):\n    return x" + " + h" * (3 - i)})
    group.add("t", scores={"rotate180": 0}, found={"rotate180": finding("values", rare.name)})
    group.add("u", scores={"rotate180": 0}, found={"rotate180": finding("values")})
    course = group.done(monkeypatch)
    about = gather(course)
    assert [(m["says"], len(m["students"])) for m in about["misconceptions"]] == [(often.says, 3), (rare.says, 1)]
    assert about["misconceptions"][0]["example"] == "s2"
    assert (about["named"], about["wrong"]) == (4, 5)
    text = page(course, tmp_path)
    assert "return x + h</code>" in text and "<p><code>h</code> meets <code>x</code> without" in text


def test_what_ended_in_an_unusual_way_comes_before_what_was_mended(group, monkeypatch):
    group.add("ann", about={"repairs": ["a tag was dropped."]})
    group.add("bob", found={"convolve1d": finding("call", ended="it took more than 2 seconds.")})
    group.add("cleo", stopped="the cell took too much memory.")
    group.add("dan")
    attention = gather(group.done(monkeypatch))["attention"]
    assert [student for student, *_ in attention] == ["bob", "cleo", "ann"]
    assert attention[0][2].happened == ["convolve1d: it took more than 2 seconds."]
    assert attention[1][2].happened == ["a cell: the cell took too much memory."]
    assert attention[2][2].repairs == ["a tag was dropped."]


def test_a_run_without_a_sandbox_is_said_loudly(group, monkeypatch, tmp_path):
    group.add("ann").add("bob", about={"room": "none"})
    text = page(group.done(monkeypatch), tmp_path)
    alarm = re.search(r'<div class="alarm".*?</div>', text, re.S)[0]
    assert "1 of 2 submissions" in alarm and "bob 02_convolution" in alarm and "ann" not in alarm


def test_sandboxed_runs_raise_no_alarm(group, monkeypatch, tmp_path):
    text = page(group.add("ann").done(monkeypatch), tmp_path)
    assert 'class="alarm"' not in text and "(1 warm, 0 cold)" in text


def test_a_renamed_copy_is_shown_as_a_pair_to_look_at(group, monkeypatch, tmp_path):
    for name, code in {"ann": LOOPS, "bob": RENAMED, "cleo": LOOPS.split("    for")[0] + "    return y"}.items():
        group.add(name, code={"cross_correlate2d": code})
    course = group.done(monkeypatch)
    (((slug, a, b), found),) = gather(course)["alike"]
    assert (slug, a, b, list(found)) == (BIG, "ann", "bob", ["cross_correlate2d"])
    assert found["cross_correlate2d"].similarity == 1
    assert "not a verdict" in page(course, tmp_path)


def test_two_who_handed_in_what_was_published_are_no_pair(group, monkeypatch):
    source = nbformat.read(group.course.root / "source" / BIG / f"{BIG}.ipynb", as_version=4)
    group.add("ann", code={e: cell(source, e).source for e in IDS})
    group.add("bob", code={e: cell(source, e).source for e in IDS})
    assert gather(group.add("cleo").add("dan").done(monkeypatch))["alike"] == []


def test_student_text_stays_text(group, monkeypatch, tmp_path):
    bad = "<script>alert(1)</script>"
    group.add("ann", code={"convolve1d": f"{bad}\n</code></pre><img src=x onerror=alert(1)>"}, stopped=bad,
              found={"convolve1d": finding("values", "no_such_mistake", says=bad, ended=bad)},
              about={"repairs": [bad, "\ud800"], "room": bad})
    text = page(group.done(monkeypatch), tmp_path)
    assert "<script" not in text and "<img" not in text
    assert text.count("&lt;script&gt;") >= 5


def test_malformed_notes_are_passed_over(group, monkeypatch, tmp_path):
    group.add("ann", found={"convolve1d": ["no", "dict"]}, about={"repairs": "no list", "room": None})
    assert "Class report" in page(group.done(monkeypatch), tmp_path)


def test_a_graded_notebook_that_was_damaged_does_not_stop_the_report(group, monkeypatch, tmp_path):
    course = group.add("ann").add("bob").done(monkeypatch)
    (course.root / "autograded" / "ann" / BIG / f"{BIG}.ipynb").write_text("{")
    assert "its graded notebook cannot be read" in page(course, tmp_path)


def test_long_code_and_long_lists_are_cut_and_it_is_said(sixty, tmp_path, monkeypatch):
    assert cut("a\n" * 30).endswith("a\n… and 5 more lines") and cut("a\n" * 25).count("\n") == 24
    assert cut("x" * 200).endswith("x … and 40 more characters")
    monkeypatch.setattr(class_report, "LONGEST", 2)
    for i in range(3):
        shutil.copytree(sixty.root / "submitted" / "student 01", sixty.root / "submitted" / f"late {i}")
    assert "and 1 more submissions, which are not shown" in page(sixty, tmp_path)


def test_a_histogram_has_tenths_and_full_marks_in_the_last():
    assert histogram([0, 0.05, 0.1, 0.95, 1, 1.2]) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 3]
