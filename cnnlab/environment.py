"""What the doctor asks: this Python, its packages, and what the project asks of them.

`import cnnlab` imports this module, also where NumPy is missing: it imports what it needs where it needs it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 60  # seconds for one thing to be tried; Matplotlib's list of fonts may be made for the first time


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(code: str) -> tuple[bool, str]:
    """Run `code` in a new process that finds the same modules.

    Returns True and what it left in `said`, or False and what went wrong, whatever that is.
    """
    import ast
    import signal
    import subprocess

    paths = [*map(str, sys.path), str(ROOT)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}\n{code}\nprint('\\ncnnlab', ascii(said))"],
            capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL, env={**os.environ, "MPLBACKEND": "agg"})
    except subprocess.TimeoutExpired:
        return False, f"no answer within {LIMIT} seconds"
    except OSError as e:
        return False, f"no process could be started to try it: {e}"
    *_, last = ["", *done.stdout.decode("utf-8", "replace").splitlines()]
    if not done.returncode and last.startswith("cnnlab "):
        return True, ast.literal_eval(last[len("cnnlab "):])
    if done.returncode < 0:
        return False, f"it crashed ({signal.Signals(-done.returncode).name})"
    complaints = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return False, (complaints[-1][:200] if complaints else "it ended Python")


def is_there(module: str) -> bool:
    """Whether `module` can be found; it is not imported."""
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001  found, but odd; trying it will tell
        return True


def version(package: str) -> str:
    """The installed version of `package`; "" if there is none or it cannot be told."""
    from importlib import metadata

    try:
        return metadata.version(package) or ""
    except Exception:  # noqa: BLE001  its files may be damaged
        return ""


def project() -> dict:
    """What the project asks for: {"python": versions, "packages": {name: requirement}}."""
    from importlib import metadata

    try:
        import tomllib

        about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = about["optional-dependencies"].values()
        python, asked = about["requires-python"], [*about["dependencies"], *(r for some in extras for r in some)]
    except (ImportError, OSError, ValueError, KeyError):
        try:
            asked, python = metadata.requires("cnnlab") or [], metadata.metadata("cnnlab")["Requires-Python"] or ""
        except metadata.PackageNotFoundError:
            return {"python": "", "packages": {}}
    names = {re.match(r"[\w.-]+", r).group().lower(): r.split(";")[0].strip() for r in asked}
    return {"python": python, "packages": names}


def requirement(package: str) -> str:
    """`package` with the versions that the project asks for."""
    return project()["packages"].get(package, package)


def fits(here: str, asked: str) -> bool:
    """Whether version `here` is one that is `asked` for, as "numpy>=2" or ">=3.11"; True where it cannot be told."""
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(re.sub(r"^[\w.-]+(\[.*\])?", "", asked)).contains(here, prereleases=True)
    except Exception:  # noqa: BLE001  packaging comes with Matplotlib
        return True


def pip(*packages: str, options: str = "") -> str:
    """The command that installs packages at the versions asked for."""
    asked = " ".join(f'"{requirement(p)}"' for p in packages)
    return f"{'%pip' if in_kernel() else f'{interpreter()} -m pip'} install {options}{asked}"


def interpreter() -> str:
    """How to call this Python, or the one to be made where nothing may be installed into this."""
    import shutil

    if externally_managed():
        return ".venv/bin/python"
    for name in ("python", "python3"):
        found = shutil.which(name)
        if found and os.path.abspath(found) == os.path.abspath(sys.executable):
            return name
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable


def externally_managed() -> bool:
    """Whether this is a system's own Python, into which pip may not install."""
    import sysconfig

    return sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file()


def in_kernel() -> bool:
    """Whether this is a notebook.  As report.in_jupyter, which needs NumPy."""
    ipython = sys.modules.get("IPython")
    return hasattr(getattr(ipython, "get_ipython", lambda: None)(), "kernel")


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next((p for p in (path, *path.absolute().parents) if p.exists()), Path.cwd())
