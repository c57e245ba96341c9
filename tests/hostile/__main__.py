"""The command line of the corpus: see the package's docstring."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from tests.hostile import engine, stock
from tests.hostile.corpus import ATTACKS, HONEST, chosen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases to run; all if none is given")
    parser.add_argument("--stock", action="store_true", help="run the attacks on stock nbgrader instead of our engine")
    parser.add_argument("--missing", action="store_true", help="with --stock: only attacks that have no result yet")
    parser.add_argument("--workers", type=int, default=None, help="how many submissions at a time")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    console = Console(highlight=False)
    if options.stock:
        cases = chosen(options.names, ATTACKS)
        return stock.run([c for c in cases if not (options.missing and c.name in stock.known())], console)
    cases = chosen(options.names, ATTACKS + HONEST)
    if options.inside:
        return engine.run(cases, options.inside, options.workers, bool(options.names), console)
    return engine.run_guarded(sys.argv[1:], console)


if __name__ == "__main__":
    sys.exit(main())
