"""Grading that is cut short: what was graded is kept, nothing stays behind, and the next run does the rest."""

import ctypes
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import nbformat
import psutil
import pytest

from autograder import workers
from autograder.course import Course
from tests.grading.conftest import RIGHT, SLUG

WRONG = "def brighten(image, amount):\n    return image"
PATIENCE = 120  # seconds until something that must happen has happened, on a busy machine
GONE = 5  # seconds in which a killed grader's processes must be gone


own: set[int] = set()  # processes of this test run that were there before the test


@pytest.fixture(autouse=True)
def adopt_orphans():
    """Processes whose parent ends become ours, so that none escapes our eyes; in the end there must be none."""
    become_subreaper(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would ours
    own.update(p.pid for p in alive())  # such as the warm process with which earlier tests graded
    yield
    for process in alive():
        process.kill()
    reap()
    own.clear()
    become_subreaper(0)


@pytest.fixture
def scores(course, submission, tmp_path):
    """A class of sixteen has handed in; the score each must get, by student."""
    return hand_in_class(course, submission, tmp_path, 16)


def hand_in_class(course, submission, tmp_path, size):
    expected = {f"s{i:02d}": float(i % 3 != 1) for i in range(size)}
    for student, points in expected.items():
        place = tmp_path / "class" / student
        place.mkdir(parents=True)
        nbformat.write(submission(RIGHT if points else WRONG), place / f"{SLUG}.ipynb")
    assert len(list(course.collect(tmp_path / "class"))) == size
    return expected


def test_a_grader_that_is_killed_at_any_moment_goes_on_where_it_was(course, scores, tmp_path):
    moments = random.Random(8)
    before = {}
    for more in (0, 2, 5):
        grader = start_grading(course, tmp_path)
        until(lambda: len(graded(course)) >= len(before) + more or grader.poll() is not None)  # noqa: B023
        time.sleep(moments.uniform(0, 0.3 if more else 3))  # the moment of the kill, not a wait for anything
        grader.kill()
        grader.wait()
        assert_nothing_runs()
        after = graded(course)
        assert before.items() <= after.items(), "something graded was lost"
        assert after.items() <= scores.items(), "something is half graded"
        before = after
    last = start_grading(course, tmp_path)
    assert last.wait(PATIENCE) == 0
    assert graded(course) == scores
    said = read(tmp_path / "out")
    assert f"{len(before)} unchanged" in said and f"{len(scores) - len(before)} graded" in said


def test_ctrl_c_ends_everything_and_says_how_to_go_on(course, scores, tmp_path):
    grader = start_grading(course, tmp_path)
    until(lambda: len(graded(course)) >= 2)
    os.killpg(grader.pid, signal.SIGINT)  # as a terminal does: to the grader and all it started
    assert grader.wait(PATIENCE) == 130
    assert_nothing_runs()
    assert read(tmp_path / "err").strip() == (
        "Stopped. What was graded is kept; the same command, without --force, goes on from there.")
    kept = graded(course)
    assert kept and kept.items() <= scores.items()
    assert start_grading(course, tmp_path).wait(PATIENCE) == 0
    assert graded(course) == scores


def test_a_worker_that_is_killed_costs_nobody_a_grade(course, scores, tmp_path):
    grader = start_grading(course, tmp_path)
    until(lambda: len(graded(course)) >= 2)
    worker = next(p for p in psutil.Process(grader.pid).children() if "spawn_main" in " ".join(p.cmdline()))
    worker.kill()
    assert grader.wait(PATIENCE) == 0, read(tmp_path / "out")
    assert_nothing_runs()
    assert graded(course) == scores
    assert f"{len(scores)} graded." in read(tmp_path / "out")
    assert read(tmp_path / "err") == ""


def lose_workers():
    """In a worker: one submission ends it, the others are fine."""
    workers.run_submission = lambda s: os._exit(1) if s.content == b"fatal" else f"ran {s.content.decode()}"


def test_a_submission_that_ends_its_worker_each_time_fails_alone():
    names = ["a", "b", "fatal", "c", "d", "e", "f", "g"]
    todo = [(name, workers.Submission(name.encode(), None)) for name in names]
    done = dict(workers.run_all(todo, 2, lambda: ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=lose_workers)))
    assert "no worker could run it, in 2 tries (BrokenProcessPool" in done.pop("fatal")
    assert done == {name: f"ran {name}" for name in names if name != "fatal"}


@pytest.mark.parametrize("free", [0, 150_000])
def test_a_full_disk_is_named_and_the_rest_is_graded_later(course, submission, tmp_path, small_disk, free):
    scores = hand_in_class(course, submission, tmp_path, 8)
    disk, on_disk = small_disk
    on_disk("cp", "-a", str(course.root), str(disk))
    fill = ("import sys\nwith open(sys.argv[1], 'wb', buffering=0) as f:\n    try:\n"
            "        while f.write(bytes(4096)): pass\n"
            "    except OSError: f.truncate(f.tell() - int(sys.argv[2]))")
    on_disk(sys.executable, "-c", fill, str(disk / "filler"), str(free))
    command = [sys.executable, "-m", "autograder.cli", "grade", "--course", str(disk / "course"), "--workers", "2"]
    full = on_disk(*command, check=False)
    assert full.returncode in (1, 2)
    assert "Traceback" not in full.stdout + full.stderr, full.stdout + full.stderr
    if full.returncode == 1:
        assert "failed: s07 00_start_here: " in full.stdout
    assert "disk is full" in full.stdout + full.stderr or "No space left" in full.stdout + full.stderr
    on_disk("rm", str(disk / "filler"))
    again = on_disk(*command, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    rows = on_disk(sys.executable, "-c", "import sys; from pathlib import Path; from autograder.course import Course\n"
                   "for r in Course.open(Path(sys.argv[1])).rows(): print(r.student, r.score)", str(disk / "course"))
    assert dict(line.split() for line in rows.stdout.splitlines()) == {s: str(p) for s, p in scores.items()}


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for a class of eight, which only commands given to `on_disk` see: (folder, on_disk)."""
    if not shutil.which("unshare"):
        skip_but_not_in_ci("util-linux's unshare is missing")
    ordinary = os.geteuid() != 0  # who may mount in a namespace of their own
    folder = tmp_path / "disk"
    folder.mkdir()
    holder = subprocess.Popen(
        ["unshare", *["--user", "--map-current-user", "--keep-caps"] * ordinary, "--mount", "sh", "-c",
         'mount -t tmpfs -o size=9m tmpfs "$0" && echo mounted && cat', str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if (said := holder.stdout.readline()) != "mounted\n":
        holder.communicate()
        skip_but_not_in_ci(f"a small disk could not be mounted: {said.strip()}")

    def on_disk(*command, check=True):
        enter = ["nsenter", *["--user", "--preserve-credentials"] * ordinary, "--mount", "--target", str(holder.pid)]
        return subprocess.run([*enter, *command], check=check, capture_output=True, text=True, timeout=PATIENCE)

    yield folder, on_disk
    holder.communicate()


def skip_but_not_in_ci(reason):
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


# ---- The grader, and what it started ----

def start_grading(course, tmp_path):
    """`autograder grade` in a process group of its own, as a shell starts it."""
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        return subprocess.Popen([sys.executable, "-m", "autograder.cli", "grade", "--course", str(course.root),
                                 "--workers", "2"], stdout=out, stderr=err, start_new_session=True)


def graded(course):
    """{student: score} of those that are graded."""
    return {r.student: r.score for r in Course.open(course.root).rows() if r.score is not None}


def read(path):
    return path.read_text(encoding="utf-8")


def until(condition):
    """Look until `condition()` is true, for at most PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def assert_nothing_runs():
    """Within GONE seconds no worker, warm process, room or kernel is left; orphans are ours."""
    deadline = time.monotonic() + GONE
    while left := alive():
        if time.monotonic() > deadline:
            raise AssertionError(f"still running: {[' '.join(p.cmdline())[:200] for p in left]}")
        time.sleep(0.02)
    reap()


def alive():
    """Our descendants that have not ended and were not there before."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def reap():
    """Take leave of the orphans that have ended."""
    for process in psutil.Process().children():
        try:
            os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            continue


def become_subreaper(on):
    assert ctypes.CDLL(None).prctl(36, on, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
