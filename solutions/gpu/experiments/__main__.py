"""Run an experiment and keep what it measured: python -m solutions.gpu.experiments NAME [--quick].

An experiment is a module in this folder with WHAT, one line that says what its columns are, and run(quick), which
returns the rows as dicts.  `cnnlab.results.load(NAME)` reads the table that is kept.  With --quick a small version
runs, in less than two minutes on two cores, and its table is only shown.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from datetime import date
from importlib import import_module
from pathlib import Path

from cnnlab.results import FOLDER

HERE = Path(__file__).parent


def names() -> list[str]:
    """The experiments: the modules in this folder that have a run."""
    return sorted(p.stem for p in HERE.glob("[a-z]*.py") if "\ndef run(" in p.read_text("utf-8"))


def table(rows: list[dict], header: dict[str, str]) -> str:
    """The rows as CSV, below the lines of the header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return "".join(f"# {key}: {value}\n" for key, value in header.items()) + out.getvalue()


def device() -> str:
    """What the experiments run on, in words."""
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        cpu = Path("/proc/cpuinfo")
        models = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")
                  ] if cpu.exists() else []
        threads = torch.get_num_threads()
        name = f"{models[0] if models else 'CPU'}, {threads} thread{'s' * (threads > 1)}"
    return f"{name}, torch {torch.__version__.split('+')[0]}"


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m solutions.gpu.experiments", description="Run an experiment.")
    parser.add_argument("name", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--quick", action="store_true", help="a small version, which is shown and not kept")
    options = parser.parse_args(argv)
    experiment = import_module(f"solutions.gpu.experiments.{options.name}")
    header = {"command": f"python -m solutions.gpu.experiments {options.name}", "device": device(),
              "date": date.today().isoformat(), "what": experiment.WHAT}
    try:
        text = table(experiment.run(options.quick), header)
    except FileNotFoundError as e:  # data that is not there; the error says how to get it
        print(e, file=sys.stderr)
        return 1
    print(text, end="")
    if not options.quick:
        (FOLDER / f"{options.name}.csv").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
