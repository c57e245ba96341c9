"""Large classes and several graders: a grade book on a PostgreSQL server, a Dask cluster, two commands at once."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from autograder import export
from autograder.course import Course
from tests.grading.conftest import RIGHT, SLUG

WRONG = "def brighten(image, amount):\n    return image"
PATIENCE = 120  # seconds until something that must happen has happened, on a busy machine
OTHER = "02_convolution"


def hand_in_class(course, submission, tmp_path, size):
    """Some right, some wrong; returns the score each must get, by student."""
    expected = {f"s{i:02d}": float(i % 3 != 1) for i in range(size)}
    for student, points in expected.items():
        place = tmp_path / "class" / student
        place.mkdir(parents=True, exist_ok=True)
        nbformat.write(submission(RIGHT if points else WRONG), place / f"{SLUG}.ipynb")
    assert len(list(course.collect(tmp_path / "class"))) == size
    return expected


def scores(course):
    return {r.student: r.score for r in course.rows()}


# ---- PostgreSQL ----

@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The URL of an empty database on a server of our own, reached by a socket in its folder alone."""
    # Debian keeps its programs out of PATH.
    initdb = shutil.which("initdb", path=os.pathsep.join([*map(str, Path("/usr/lib/postgresql").glob("*/bin")),
                                                          os.environ["PATH"]]))
    if not initdb:
        skip_but_not_in_ci("PostgreSQL's server is not installed (Debian and Ubuntu: postgresql)")
    # Not in tmp_path: a socket's path may have 107 characters, and root's folders are closed to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="cnnlab-postgres-", dir="/tmp"))
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    how = user | {"cwd": folder, "check": True, "capture_output": True}
    subprocess.run([initdb, "--pgdata", data, "--username", "course", "--auth", "trust", "--no-sync"], **how)
    control = [Path(initdb).with_name("pg_ctl"), "--pgdata", data, "--wait"]
    # The server would keep a pipe open.
    subprocess.run([*control, "--log", folder / "log", "--options", f"-c listen_addresses='' -k {folder} -F", "start"],
                   **how | {"capture_output": False, "stdout": subprocess.DEVNULL})
    yield f"postgresql://course@/postgres?host={folder}"
    subprocess.run([*control, "--mode", "fast", "stop"], **how)
    shutil.rmtree(folder)


def skip_but_not_in_ci(reason):
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def test_a_term_with_its_grade_book_on_a_server_gives_the_scores_of_a_file(course, submission, tmp_path, postgres):
    served = Course.init(tmp_path / "served")
    config = served.root / "nbgrader_config.py"
    config.write_text(f"{config.read_text()}c.CourseDirectory.db_url = {postgres!r}\n")
    served = Course.open(served.root)
    served.release([SLUG])
    for one in (served, course):
        expected = hand_in_class(one, submission, tmp_path, 6)
        assert {g.state for g in one.grade(one.submissions([SLUG], []), workers=2)} == {"graded"}
        assert scores(one) == expected
    assert served.rows() == course.rows()
    for one in (served, course):
        export.write(one.rows(), tmp_path / f"{one.root.name}.csv")
    assert (tmp_path / "served.csv").read_text() == (tmp_path / "course.csv").read_text()
    assert not (served.root / "gradebook.db").exists()

    nbformat.write(submission(RIGHT), tmp_path / "class" / "s01" / f"{SLUG}.ipynb")
    list(served.collect(tmp_path / "class"))
    assert scores(served)["s01"] is None, "a score must not be shown for what was handed in since"
    states = {g.student: g.state for g in served.grade(served.submissions([SLUG], []))}
    assert states == {s: "graded" if s == "s01" else "unchanged" for s in expected}
    assert scores(served) == expected | {"s01": 1}


# ---- A Dask cluster ----

@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, started as on a cluster: (address, the workers' processes)."""
    pytest.importorskip("distributed")
    started = []

    def start(name, *command):
        with open(tmp_path / f"{name}.log", "w") as log:
            started.append(subprocess.Popen(
                [sys.executable, "-m", *command], stdout=log, stderr=log, start_new_session=True, cwd=tmp_path))
        return started[-1]

    def said(name, pattern):
        return re.search(pattern, (tmp_path / f"{name}.log").read_text())

    start("scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
          "--dashboard-address", "127.0.0.1:0")
    until(lambda: said("scheduler", r"Scheduler at: +(tcp://\S+)"))
    address = said("scheduler", r"Scheduler at: +(tcp://\S+)")[1]
    workers = [start(f"worker{i}", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
                     "--no-dashboard", "--name", f"worker{i}", "--local-directory", str(tmp_path)) for i in range(2)]
    for i in range(2):
        until(lambda: said(f"worker{i}", "Registered to"))  # noqa: B023
    yield address, workers
    for process in reversed(started):
        for below in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            below.kill()
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker_grades_everyone_once(course, submission, tmp_path, cluster):
    from distributed import Client

    address, workers = cluster
    expected = hand_in_class(course, submission, tmp_path, 12)
    done = []
    with Client(address) as client:
        for graded in course.grade(course.submissions([SLUG], []), workers=2, pool=client.get_executor):
            done.append(graded)
            if len(done) == 3:
                workers[0].send_signal(signal.SIGKILL)
    assert [g for g in done if g.state != "graded"] == []
    assert sorted(g.student for g in done) == sorted(expected)
    assert scores(course) == expected
    for student in expected:
        log = (course.root / "logs" / student / f"{SLUG}.log").read_text()
        assert log.count("graded in") == 1 and "room=warm" in log


# ---- Two at once ----

def start(course, *command):
    return subprocess.Popen([sys.executable, "-W", "ignore", "-m", *command], cwd=course.root, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def test_two_graders_of_one_course_lose_nothing(course, submission, tmp_path):
    expected = hand_in_class(course, submission, tmp_path, 8)
    both = [start(course, "autograder.cli", "grade", "--workers", "1") for _ in range(2)]
    said = [one.communicate(timeout=PATIENCE)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], "\n".join(said)
    assert scores(course) == expected


def test_nbgraders_own_command_can_grade_two_notebooks_at_once(course, submission, tmp_path):
    expected = hand_in_class(course, submission, tmp_path, 3)
    course.release([OTHER])
    for student in expected:
        place = course.root / "submitted" / student / OTHER
        place.mkdir()
        shutil.copy(course.root / "release" / OTHER / f"{OTHER}.ipynb", place)
    with course.gradebook() as book:  # or both might enter a student at the same moment, which nbgrader's own code loses
        for student in expected:
            book.update_or_create_student(student)
    both = [start(course, "nbgrader", "autograde", slug) for slug in (SLUG, OTHER)]
    said = [one.communicate(timeout=PATIENCE)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], "\n".join(said)
    rows = {(r.student, r.notebook): r.score for r in course.rows()}
    assert rows == {(s, SLUG): points for s, points in expected.items()} | {(s, OTHER): 0 for s in expected}


def until(condition):
    """Look until `condition()` is true, for at most PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
