"""How long a student waits: for `import cnnlab`, and for each check.

    python -m benchmarks.checks

writes benchmarks/results/checks.json, with device and date.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time

from autograder import sources
from autograder.build import source_notebooks
from autograder.check_exercises import functions
from autograder.exercise import load_all
from cnnlab import report
from cnnlab.calls import Local
from cnnlab.checks import judge
from cnnlab.probes import load

RESULTS = sources.ROOT / "benchmarks" / "results" / "checks.json"
RUNS = 7


def main() -> None:
    checks = time_checks()
    slowest = max(checks, key=checks.get)
    base, ours = (time_import(code) for code in ("import numpy, matplotlib.pyplot",
                                                 "import numpy, matplotlib.pyplot, cnnlab"))
    figures = {"import_s_over_numpy_and_matplotlib": round(ours - base, 3),
               "import_ratio": round(ours / base, 3),
               "slowest_check": slowest, "slowest_check_s": round(checks[slowest], 4),
               "median_check_s": round(statistics.median(checks.values()), 4)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures | {
        "command": "python -m benchmarks.checks", "date": time.strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}"}, indent=1) + "\n")
    print("\n".join(f"{k}: {v}" for k, v in figures.items()))


def time_checks() -> dict[str, float]:
    """Median seconds of a whole check of each solution: reading its data, the calls, the report."""
    exercises, seconds = load_all(), {}
    for notebook in source_notebooks(exercises).values():
        solved, _ = functions(notebook)
        for name, function in solved.items():
            laps = []
            for _ in range(RUNS):
                start = time.perf_counter()
                report.html(judge(load(name), Local(function)))
                laps.append(time.perf_counter() - start)
            seconds[name] = statistics.median(laps)
    return seconds


def time_import(code: str) -> float:
    """Median seconds of a fresh Python that runs `code`."""
    laps = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        laps.append(time.perf_counter() - start)
    return statistics.median(laps)


if __name__ == "__main__":
    main()
