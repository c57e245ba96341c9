"""Write requirements.lock: every package of pyproject.toml and what they need, each at one version.

Resolved for the lowest Python the project allows, since newer packages drop older ones: a machine with
Debian 12 has Python 3.11.2.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autograder.sources import ROOT, need_repository

HEADER = "# Written by `make lock` from pyproject.toml; do not edit.\n"


def project() -> dict:
    """The [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> list[str]:
    """The direct requirements in pyproject.toml: the core and every extra."""
    extras = [r for extra in project()["optional-dependencies"].values() for r in extra]
    return sorted({*project()["dependencies"], *extras})


def main() -> None:
    need_repository()
    lowest = project()["requires-python"].removeprefix(">=") + ".0"
    with tempfile.TemporaryDirectory() as folder:
        report = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run",
             "--ignore-installed", "--report", "-", "--python-version", lowest, "--only-binary", ":all:",
             "--target", folder, *requirements()], check=True, text=True, stdout=subprocess.PIPE).stdout
    found = [item["metadata"] for item in json.loads(report)["install"]]
    # A package that is there for some systems only stays so.
    direct = map(Requirement, requirements())
    only = {canonicalize_name(r.name): f"; {r.marker}" for r in direct if r.marker}
    # A CPU build calls itself 2.13.0+cpu; the plain version takes whichever build there is.
    lines = sorted((f"{m['name']}=={m['version'].split('+')[0]}{only.get(canonicalize_name(m['name']), '')}"
                    for m in found), key=str.lower)
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages for Python {lowest} and newer")


if __name__ == "__main__":
    main()
