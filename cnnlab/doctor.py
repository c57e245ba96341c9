"""The doctor says what works on this machine, and what to install for the rest: `python -m cnnlab doctor`.

What might be broken is tried in a process of its own, several side by side, so that nothing which raises, crashes or
hangs stops the doctor.  What takes seconds to import is looked up, not tried.  Nothing is asked of the network.

`import cnnlab` imports this module: as in `environment`, imports stand where they are used.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cnnlab import datafiles, environment

GIGABYTE = 10**9
MARKS = {"works": "✓", "installed": "✓", "there": "✓", "same": "✓",
         "missing": "✗", "too old": "✗", "broken": "✗", "unknown": "✗"}  # others: –
PLAIN = str.maketrans({"✓": "+", "✗": "x", "–": "-", "→": ">", "…": "."})  # where these cannot be written


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    state: one or two words; one of MARKS, or another for what is absent without harm.
    fix: what to do about it, a command where there is one.
    needed: without it the first notebooks do not run.
    """

    name: str
    state: str
    said: str = ""
    fix: str = ""
    needed: bool = False

    @property
    def mark(self) -> str:
        return MARKS.get(self.state, "–")

    @property
    def stops(self) -> bool:
        return self.needed and self.mark != "✓"


@dataclass(frozen=True)
class Part:
    """A package, and how to see that it works.

    package: what pip calls it.
    code: what must run without an error; it leaves in `said` what there is to say.  Without it nothing is tried.
    use: what uses it, if the first notebooks do not.
    """

    name: str
    module: str
    package: str
    code: str = ""
    use: str = ""

    @property
    def needed(self) -> bool:
        return not self.use


NEEDED = (
    Part("NumPy", "numpy", "numpy", "import numpy as m; m.linalg.inv(m.eye(2)); said = m.__version__"),
    Part("Matplotlib", "matplotlib", "matplotlib", "import matplotlib as m, matplotlib.pyplot; said = m.__version__"),
    Part("IPython", "IPython", "ipython", "import IPython as m; said = m.__version__"),
    Part("Images", "sklearn", "scikit-learn",
         "from cnnlab import data; n = len(data.digits()[0]); [data.photo(p) for p in data.PHOTOS]; "
         "said = f'{n:,} digits and {len(data.PHOTOS)} photographs load (from scikit-learn and Matplotlib)'"),
    Part("SymPy", "sympy", "sympy", "import sympy as m; said = m.__version__"),
    Part("JupyterLab", "jupyterlab", "jupyterlab", "import jupyterlab as m; said = m.__version__"),
    Part("ipykernel", "ipykernel", "ipykernel", "import ipykernel as m, ipykernel.kernelapp; said = m.__version__"))
TORCH = Part("PyTorch", "torch", "torch", """
import torch
torch.ones(2, 2) @ torch.ones(2, 2)
said = torch.__version__
for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    torch.ones(2, 2, device=i).sum().item()
    p = torch.cuda.get_device_properties(i)
    said += f"\\n{p.name}, {p.total_memory / 1e9:.0f} GB"
""", "notebooks from 09 on")
TRITON = Part("Triton", "triton", "triton", use="notebooks 17 and 18")
GPU_USE = "; only notebooks 17 and 18 need one"
DATA_USE = "notebooks from 09 on use it where it is"
RECOMPRESSED = "; recompressed, so results on it are not those on the original"
NBGRADER = Part("nbgrader", "nbgrader", "nbgrader", use="grading")


def doctor(torch: bool = False) -> None:
    """Print what works on this machine, and what to install for the rest.

    torch: also import PyTorch and ask it for a GPU, which takes some seconds.
    """
    _say(text(examine(torch)))


def examine(torch: bool = False) -> dict[str, list[Finding]]:
    """Everything the doctor finds, by heading.  Raises nothing."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        def start(name, look, *args, needed=False):
            return pool.submit(_safely, name, look, *args, needed=needed)

        parts = [start(p.name, _try, p, needed=True) for p in NEEDED[::-1]][::-1]  # what takes longest comes first
        later = start("PyTorch", _torch, torch)
        grader, folders = start("Sandbox", _instructors), start("Folders", _folders)
        asked = {
            "Notebooks 00 to 08": [start("Python", _python, needed=True), *parts, folders],
            "Later notebooks": [later],
            "This machine": [start("Machine", _machine), start("Disk", _disk), start("Versions", _versions)],
            "Data sets": [start("Data sets", _data)],
            "For instructors": [grader]}
    found = {heading: [f for answer in answers for f in answer.result()] for heading, answers in asked.items()}
    return {heading: findings for heading, findings in found.items() if findings}


def text(found: dict[str, list[Finding]]) -> str:
    """The table, for a terminal and for Jupyter alike, and what it comes to."""
    rows = [f for findings in found.values() for f in findings]
    state, name = (max(len(getattr(f, k)) for f in rows) for k in ("state", "name"))
    lines = []
    for heading, findings in found.items():
        lines += [heading]
        for f in findings:
            lines.append(f"  {f.mark} {f.state:{state}}  {f.name:{name}}  {f.said}".rstrip())
            lines += [f"{'':{state + name + 8}}→ {f.fix}"] * bool(f.fix)
        lines.append("")
    stopped = [f.name for f in rows if f.stops]
    if not stopped:
        return "\n".join([*lines, "Everything that notebooks 00 to 08 need works."])
    absent = [f.name for f in rows if f.state in ("missing", "too old")]
    packages = [part.package for part in NEEDED if part.name in absent]
    lines.append(f"Notebooks 00 to 08 do not run yet; what stops them: {', '.join(stopped)}.")
    return "\n".join([*lines, *([f"All at once: {environment.pip(*packages)}"] if len(packages) > 1 else [])])


def main(argv: list[str] | None = None) -> int:
    """`python -m cnnlab`.  Returns 0 if what the first notebooks need works, 1 if not, 2 if asked for anything else."""
    argv = sys.argv[1:] if argv is None else argv
    if argv not in (["doctor"], ["doctor", "--torch"]):
        _say("usage: python -m cnnlab doctor [--torch]     says what works on this machine; --torch also tries PyTorch "
             "and the GPU. Other commands: lab opens the notebooks, progress shows what is done, reset EXERCISE gives a "
             "stub back, download mnist cifar10 fetches data sets", sys.stderr)
        return 2
    found = examine("--torch" in argv)
    _say(text(found))
    return int(any(f.stops for findings in found.values() for f in findings))


# ---------------------------------------------------------------------------- packages

def _safely(name, look, *args, needed=False):
    """The findings of `look`, as a list; one that says so if it could not be asked."""
    try:
        found = look(*args)
        return found if isinstance(found, list) else [found]
    except Exception as e:  # noqa: BLE001  whatever is wrong with this machine, the rest is to be told
        return [Finding(name, "unknown", f"could not be asked: {type(e).__name__}: {e}"[:200], needed=needed)]


def _try(part, code=None):
    """Look a package up, and run its code, or `code`, in a process of its own."""
    code, asked = part.code if code is None else code, environment.requirement(part.package)
    use = f" (for {part.use})" if part.use else ""

    def finding(state, said, fix=""):
        return Finding(part.name, state, said + use, fix, part.needed)

    if part.module == "jupyterlab" and environment.in_kernel():
        return finding("works", "this is a notebook")
    if not environment.is_there(part.module):
        return finding("missing" if part.needed else "not here", f"asked for: {asked}", environment.pip(part.package))
    here = environment.version(part.package)
    worked, said = environment.run(code) if code else (True, here)
    if not worked:
        if hiding := [p for p in (Path(f"{part.module}.py"), Path(part.module, "__init__.py")) if p.exists()]:
            return finding("broken", said, f"rename {hiding[0].resolve()}, which hides the package")
        return finding("broken", said, environment.pip(part.package, options="--force-reinstall "))
    if not environment.fits(here, asked):
        return finding("too old" if part.needed else "differs", f"{here}; asked for: {asked}",
                       environment.pip(part.package))
    return finding("works" if code else "installed", said)


def _torch(ask):
    """PyTorch, and if it is there the GPU and Triton.  It is imported, which takes seconds, only to `ask` it."""
    torch = _try(TORCH, TORCH.code if ask else "")
    if torch.state == "not here":
        return torch
    if ask and torch.mark == "✓":
        said, *gpus = torch.said.removesuffix(f" (for {TORCH.use})").split("\n")
        torch = replace(torch, said=f"{said} (for {TORCH.use})")
        gpu = Finding("GPU", "works" if gpus else "not here", "; ".join(gpus) or f"PyTorch finds none{GPU_USE}")
    else:
        command = f"{environment.interpreter()} -m cnnlab doctor --torch"
        command = "cnnlab.doctor(torch=True)" if environment.in_kernel() else command
        torch = torch if ask else replace(torch, said=f"{torch.said}; not tried, which takes seconds",
                                          fix=torch.fix or command)
        gpu = _gpu()
    return [torch, gpu, *([_try(TRITON)] if gpu.mark == "✓" or environment.is_there("triton") else [])]


def _gpu():
    """What NVIDIA's driver says, which is quick."""
    import shutil
    import subprocess

    if not shutil.which("nvidia-smi"):
        return Finding("GPU", "not here", f"there is no nvidia-smi to name one{GPU_USE}")
    answer = subprocess.run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
                            capture_output=True, text=True, timeout=environment.LIMIT, stdin=subprocess.DEVNULL)
    if answer.returncode or not answer.stdout.strip():
        return Finding("GPU", "not here", f"nvidia-smi says: {' '.join((answer.stdout + answer.stderr).split())[:200]}")
    return Finding("GPU", "there", "; ".join(answer.stdout.strip().splitlines()))


def _python():
    asked, here = environment.project()["python"], ".".join(map(str, sys.version_info[:3]))
    fits = environment.fits(here, asked)
    said = f"{here}, {sys.executable}" + ("" if fits else f"; asked for: {asked}")
    found = [Finding("Python", "works" if fits else "too old", said,
                     "" if fits else "install a newer Python, and make a new environment with it", needed=True)]
    if environment.externally_managed():
        found.append(Finding("pip", "not here", "this is the system's own Python, into which pip may not install",
                             f"{sys.executable} -m venv .venv, then use .venv/bin/python"))
    elif not environment.is_there("pip"):
        found.append(Finding("pip", "not here", "it is not in this environment",
                             f"{environment.interpreter()} -m ensurepip"))
    return found


def _versions():
    """How the installed packages differ from the lock, if it is here."""
    lock = environment.ROOT / "requirements.lock"
    if not lock.is_file():
        return []
    differing, count = [], 0
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, _, locked = line.partition(";")[0].partition("==")
        if here := environment.version(name).split("+")[0]:
            count += 1
            differing += [f"{name} {here} ({locked})"] if here != locked else []
    if not differing:
        return Finding("Versions", "same", f"all {count} packages are as in requirements.lock") if count else []
    return Finding("Versions", "differ", f"{len(differing)} of {count} packages are not as in requirements.lock: "
                   f"{', '.join(differing[:6])}{', …' if len(differing) > 6 else ''}",
                   f'only if something fails: {environment.pip()}-r "{lock}"')


def _instructors():
    """Whether submissions can be graded, if the autograder is here.  It is asked in a process of its own."""
    if not environment.is_there("autograder"):
        return []
    found = [_try(NBGRADER)]
    if not sys.platform.startswith("linux"):
        return [*found, Finding("Sandbox", "not here", "students' code is graded on Linux only, in bubblewrap")]
    worked, said = environment.run("from autograder.sandbox.room import obstacle; said = obstacle()")
    if worked and not said:
        return [*found, Finding("Sandbox", "works", "a room for a submission was made")]
    reason, _, fix = said.partition(". ")
    return [*found, Finding("Sandbox", "broken", reason, fix)]


# ---------------------------------------------------------------------------- the machine

def _machine():
    import platform

    count = environment.cores()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        import psutil  # comes with ipykernel; for Windows

        memory = psutil.virtual_memory().total
    return Finding("Machine", "there", f"{platform.system()} {platform.machine()}, "
                   f"{count} processor core{'s' * (count != 1)}, {memory / GIGABYTE:.0f} GB of memory")


def _disk():
    import shutil

    place = environment.existing(Path(os.environ.get("CNNLAB_DATA") or environment.ROOT / "data"))
    free = shutil.disk_usage(place).free
    return Finding("Disk", "there" if free > GIGABYTE else "little", f"{free / GIGABYTE:.1f} GB free in {place}")


def _folders():
    """Where Jupyter keeps what a running notebook needs, and where notebooks are saved."""
    found = []
    worked, place = environment.run("from jupyter_core.paths import jupyter_runtime_dir; said = jupyter_runtime_dir()")
    if worked and not environment.in_kernel() and not os.access(environment.existing(Path(place)), os.W_OK):
        found.append(Finding("Home", "broken", f"Jupyter has to write to {place}, and may not",
                             "set JUPYTER_DATA_DIR to a folder of your own", needed=True))
    if not os.access(Path.cwd(), os.W_OK):
        found.append(Finding("Folder", "read-only", f"notebooks in {Path.cwd()} can be run, but not saved",
                             "copy them to a folder of your own"))
    return found


def _data():
    """The data sets, wherever the loaders look for them."""
    setting, found = os.environ.get("CNNLAB_DATA"), []
    if setting and not os.path.isdir(setting):
        found.append(Finding("CNNLAB_DATA", "not here", f"it names {setting}, which is no folder"))
    for name, data_set in datafiles.DATA_SETS.items():
        here = datafiles.find(name)
        if here:
            path = here.paths[0] if len(here.paths) == 1 else here.folder
            found.append(Finding(data_set.title, "there", f"{path}{'' if here.form.original else RECOMPRESSED}",
                                 "" if here.form.original else datafiles.command(name)))
        elif lacks := datafiles.missing(name):
            found.append(Finding(data_set.title, "incomplete", f"without {', '.join(lacks)}", datafiles.command(name)))
        else:
            found.append(Finding(data_set.title, "not here", DATA_USE, datafiles.command(name)))
    return found


def _say(what, stream=None):
    stream = stream or sys.stdout
    try:
        print(what, file=stream)
    except UnicodeEncodeError:
        print(what.translate(PLAIN).encode("ascii", "replace").decode(), file=stream)
