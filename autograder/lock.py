"""Write requirements.lock: every package of pyproject.toml and what they need, each at one version.

Installs into a fresh environment and writes down what came.  Torch is installed first and at its
pinned version, because the newest release would bring gigabytes of CUDA packages.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make lock` from pyproject.toml; do not edit.\n"


def requirements() -> list[str]:
    """The direct requirements in pyproject.toml: the core and every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [r for extra in project["optional-dependencies"].values() for r in extra]
    return sorted({*project["dependencies"], *extras})


def main() -> None:
    wanted = requirements()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *(r for r in wanted if r.startswith("torch"))], check=True)
        subprocess.run([*pip, "install", *wanted], check=True)
        frozen = subprocess.run([*pip, "freeze", "--all", "--exclude", "pip"], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
    # A CPU build calls itself 2.13.0+cpu; the plain version takes whichever build there is.
    lines = [line.split("+")[0] for line in frozen.splitlines()]
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
