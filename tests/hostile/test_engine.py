"""The whole corpus, graded as one class: nothing gained, escaped, leaked or stopped, and all honest code in full."""

import json
import subprocess
import sys

from tests.hostile.engine import REPORT, REPO


def test_no_attack_works_and_no_honest_student_loses():
    done = subprocess.run([sys.executable, "-m", "tests.hostile"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = json.loads(REPORT.read_text())
    assert report["attacks"] >= 55 and report["honest"] >= 25
    assert [report[k] for k in ("gained", "escaped", "leaked", "class_stopped")] == [0, 0, 0, 0]
    assert report["honest_full"] == report["honest"]
