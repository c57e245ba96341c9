"""`python -m autograder.site`: the website in build/site; see docs/contributor.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.progress import track

from autograder import sources
from autograder.site import build, weight
from autograder.site.run import PageError

FOLDER = sources.ROOT / "build" / "site"
WORK = sources.ROOT / "build" / "site-work"


def main(argv: list[str] | None = None) -> int:
    """Build the site, say how long it took and what its pages weigh.  Returns 1 if it cannot be built."""
    parser = argparse.ArgumentParser(prog="autograder.site", description="Build the website of the course.")
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="only these, such as 02 (default: all)")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="where to (default: build/site)")
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    try:
        build.site(arguments.out, WORK, arguments.notebooks, lambda slugs: track(slugs, "executing the notebooks"))
    except (PageError, sources.SourceError) as e:
        print(f"make site: {e}", file=sys.stderr)
        return 1
    pages = weight.pages(arguments.out)
    print("\n".join(f"{path.name:<40}{pages[path] / 1e6:6.2f} MB" for path in sorted(pages)
                    if path.parent.name == "notebooks"))
    print(f"The site is in {arguments.out}, built in {time.monotonic() - start:.0f} s. Beside its pages there are "
          f"{weight.shared(arguments.out) / 1e6:.1f} MB that they share.\n"
          f"To read it: {Path(sys.executable).name} -m http.server --directory {arguments.out}, "
          "then http://localhost:8000 in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
