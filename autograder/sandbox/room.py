"""A room for one submission: bubblewrap around a process, with limits and a watcher outside.

In the room there is no network, the system is read-only, home and /tmp are its own and small, and neither the
course nor other students can be seen.  When the room ends, nothing of it is left.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cnnlab
from autograder import inside
from autograder.inside.kernel import FOLDER, HOME
from autograder.inside.lock_down import MB, Limits

START_LIMIT = 30  # seconds until a room must be ready
ROOT_USERS = 1_900_000_000  # rooms started by root get an id of their own, from here on
INSTALL = ("Student code runs in bubblewrap (Linux), {why}. Install it, on Debian and Ubuntu with `sudo apt install "
           "bubblewrap`; or give --unsafe-no-sandbox to run student code with all your rights.")


_rooms = itertools.count()


class SandboxError(Exception):
    """A room could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Spec:
    """What a room holds.

    forbidden: modules that are not there.
    files: to be found in the working folder, by name.
    """

    limits: Limits = Limits()
    forbidden: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)


def environment() -> dict[str, str]:
    """The whole environment of a room: nothing of the grader's gets in."""
    return {
        "HOME": HOME, "USER": "student", "LOGNAME": "student", "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8", "TERM": "xterm-color", "NBGRADER_EXECUTION": "autograde", "MPLCONFIGDIR": f"{HOME}/.matplotlib",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TRITON_INTERPRET": "1",  # a room has no GPU
        "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1",
        # One thread each: rooms run side by side, and a process that forks must have one.
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def obstacle() -> str:
    """Why no room can be made on this machine, in a sentence with what to do; "" if one can."""
    if not shutil.which("bwrap"):
        return INSTALL.format(why="which is not installed")
    try:
        import pyseccomp  # noqa: F401
    except ModuleNotFoundError:
        return f"The filter of system calls needs the Python package pyseccomp: {sys.executable} -m pip install pyseccomp"
    except (ImportError, RuntimeError) as e:
        return f"The filter of system calls cannot be made ({e}). On Debian and Ubuntu: sudo apt install libseccomp2"
    try:
        Room(Spec(), ["/bin/sh", "-c", "echo listening"]).close()
    except SandboxError as e:
        return INSTALL.format(why=f"which does not work here: {e}")
    return ""


class Room:
    """A running room.  `command` must write a line to its output once it is ready."""

    def __init__(self, spec: Spec, command: list[str], first_line: bytes = b""):
        self.spec = spec
        self.kernel: int | None = None
        self.code: int | None = None
        read, write = os.pipe()
        try:
            self._bwrap = subprocess.Popen(
                [*_bubblewrap(spec, write), *command], pass_fds=[write], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                # Bubblewrap's own process stays in the room, where its environment can be read.
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")})
        except OSError as e:
            raise SandboxError(f"bwrap cannot be started: {e}") from e
        finally:
            os.close(write)
        try:
            with open(read) as answer:
                told = answer.read()
            self.first = json.loads(told)["child-pid"] if told else 0
            self._bwrap.stdin.write(first_line)
            self._bwrap.stdin.flush()
            # Bubblewrap names the process before the room is complete; the line comes from within.
            wait_for_line(self._bwrap.stdout.fileno())
            put_files(spec, self.outside(HOME))  # no student's code runs yet
        except (SandboxError, OSError, ValueError) as e:
            self._end()
            said = self._bwrap.stderr.read(4000).decode(errors="replace").strip().splitlines()
            self._bwrap.stderr.close()
            raise SandboxError(said[-1] if said else str(e)) from e

    def outside(self, path: str) -> Path:
        """Where a path of the room is seen from here."""
        return Path(f"/proc/{self.first}/root{path}")

    def processes(self) -> list[int]:
        """Every process in the room, but its first."""
        found, todo = [], [self.first, *([self.kernel] if self.kernel else [])]
        while todo:
            pid = todo.pop()
            if pid in found:
                continue
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return [pid for pid in found if pid != self.first]

    def processor_time(self) -> float:
        """Seconds of processor time that the processes of the room have used, those that are gone left out."""
        return sum(map(_processor_time, self.processes()))

    def memory(self) -> int:
        """Bytes in use by all processes of the room; what they share is counted once where it matters."""
        processes = self.processes()
        total = sum(_memory(pid, "status", ("RssAnon", "RssShmem")) for pid in processes)
        if total > self.spec.limits.memory / 2:
            total = sum(_memory(pid, "smaps_rollup", ("Pss_Anon", "Pss_Shmem")) for pid in processes) or total
        return total

    def close(self) -> None:
        """End everything in the room; whatever it was doing."""
        self._end()
        self._bwrap.stderr.close()

    def wait(self) -> int | None:
        """The exit code of the command, which has ended or is about to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.code = self._bwrap.wait(timeout=1)
        return self.code

    def _end(self):
        with contextlib.suppress(ProcessLookupError):
            if getattr(self, "first", 0):
                os.kill(self.first, 9)  # the first process of its namespace takes all others along
            else:
                self._bwrap.kill()
        for stream in (self._bwrap.stdin, self._bwrap.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        self._bwrap.wait()


class Unfenced:
    """No room: a kernel with all the rights of the grader (--unsafe-no-sandbox).  Used like a Room."""

    def __init__(self, spec: Spec, command: list[str], settings: dict):
        self._folder = tempfile.TemporaryDirectory(prefix="cnnlab-")
        place = self._folder.name
        settings = settings | {"limits": None, "folder": place, "home": place}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env=environment() | {"HOME": place, "MPLCONFIGDIR": place})
        self._process.stdin.write(json_line(settings))
        self._process.stdin.flush()
        self.kernel, self.code = self._process.pid, None
        try:
            wait_for_line(self._process.stdout.fileno())
            put_files(spec, Path(place))
        except SandboxError:
            self.close()
            raise

    def outside(self, path: str) -> Path:
        return Path(self._folder.name)

    def processor_time(self) -> float:
        return _processor_time(self.kernel)

    def memory(self) -> int:
        return _memory(self.kernel, "status", ("RssAnon", "RssShmem"))

    def wait(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            self.code = code if code >= 0 else 128 - code
        return self.code

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.kernel, 9)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()
        self._folder.cleanup()


def put_files(spec: Spec, folder: Path) -> None:
    """Write the files of `spec` to `folder`."""
    for name, content in spec.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def json_line(settings: dict) -> bytes:
    """Settings as the kernel reads them."""
    return json.dumps(settings).encode() + b"\n"


def room_settings(spec: Spec) -> dict:
    """What a kernel in a room has to know to lock itself down."""
    return {"limits": spec.limits.to_json(), "user": room_user(), "folder": FOLDER, "home": HOME}


def wait_for_line(descriptor: int, limit: float = START_LIMIT) -> None:
    """Wait until `listening` was written.  Raises SandboxError with whatever else was, or if nothing comes."""
    deadline, said = time.monotonic() + limit, b""
    while not said.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0, deadline - time.monotonic()))[0]:
            raise SandboxError(f"the room was not ready after {limit:g} s")
        if not (part := os.read(descriptor, 4096)):
            raise SandboxError("the room ended before it was ready")
        said += part
    if said != b"listening\n":
        raise SandboxError(said.decode(errors="replace").strip())


def namespaces() -> list[str]:
    """The kinds of namespaces a room has of its own."""
    return ["mnt", "pid", "net", "ipc", "uts", "cgroup"] if os.geteuid() == 0 else [
        "user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]


def room_user() -> int | None:
    """Whom the student's kernel runs as: nobody that exists if the grader is root, else the grader's user.

    Limits on processes do not hold for root, in whatever room.
    """
    return ROOT_USERS + 64 * os.getpid() + next(_rooms) % 64 if os.geteuid() == 0 else None


def _bubblewrap(spec, info):
    disk = str(spec.limits.disk)
    line = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup",
            "--die-with-parent", "--new-session", "--info-fd", str(info), "--hostname", "room", "--clearenv"]
    # Root makes the room without a user namespace, to be able to bind what only root may reach; the kernel
    # becomes an ordinary user as its first step (lock_down).
    if os.geteuid() == 0:
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    else:
        line += ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    for name, value in environment().items():
        line += ["--setenv", name, value]
    # What can be written comes first: an environment to be bound may itself lie under /tmp or /home.
    for folder in ("/tmp", HOME):
        line += ["--perms", "1777", "--size", disk, "--tmpfs", folder]
    line += ["--perms", "1777", "--size", str(MB), "--tmpfs", FOLDER, "--dev", "/dev",
             # Read-only, or a process could write to another's memory or save itself from the OOM killer.
             "--proc", "/proc", "--remount-ro", "/proc",
             "--perms", "1777", "--size", disk, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    for path in _system():
        line += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else ["--ro-bind", str(path), str(path)]
    python, hidden, own = _packages()
    hidden = [*hidden, *_foreign_packages(python)]
    for folder in _parents([*python, *own]):  # bubblewrap would make them for its own user alone
        line += ["--perms", "0755", "--dir", folder]
    for path in python:
        line += ["--ro-bind", path, path]
    for path in hidden:
        line += ["--perms", "0755", "--tmpfs", path]
    for path in own:
        line += ["--ro-bind", path, path]
    line += ["--perms", "0777", "--dir", f"{HOME}/.matplotlib"]
    for file in _font_lists():
        line += ["--ro-bind", str(file), f"{HOME}/.matplotlib/{file.name}"]
    for module in spec.forbidden:
        for place in _places(module):
            line += ["--perms", "0555", "--size", "4096", "--tmpfs", place] if os.path.isdir(place) else [
                "--ro-bind", "/dev/null", place]
    return [*line, "--remount-ro", "/", "--chdir", HOME, "--"]


def _system():
    """The system's own programs and libraries, and the little of /etc that they read."""
    wanted = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives",
              "/etc/fonts", "/etc/localtime", "/nix/store")
    return [path for path in map(Path, wanted) if os.path.lexists(path)]


def _packages():
    """Python with its packages; what must not be seen of them; cnnlab, and of the grader what runs in a room.

    Where the grader is installed, not linked, its exercises lie among the packages.
    """
    python = [p for p in dict.fromkeys((sys.base_prefix, sys.prefix)) if not Path(p).is_relative_to("/usr")]
    room_side = Path(inside.__file__).parent
    grader = room_side.parent
    hidden = [str(p) for p in (grader, grader.parent / "solutions")
              if p.is_dir() and any(p.is_relative_to(q) for q in [*python, "/usr"])]
    return python, hidden, [str(Path(cnnlab.__file__).parent), str(grader / "__init__.py"), str(room_side)]


def _foreign_packages(python):
    """Folders of packages for other environments of the same Pythons: what an exercise forbids may be there."""
    roots = [Path(root) for root in ("/usr", "/usr/local", *python)]
    found = {p.resolve() for root in roots for p in root.glob("lib*/python3*/*-packages")}
    return sorted(map(str, found - {Path(p).resolve() for p in sys.path}))


def _parents(paths):
    """Every folder above the paths that no bind brings along, from the top down."""
    above = {str(f) for path in paths for f in Path(path).parents} - {"/", "/tmp", HOME}
    return sorted(f for f in above if not any(Path(f).is_relative_to(p) for p in (*paths, "/usr")))


def _font_lists():
    """Matplotlib's list of fonts, which every room would else make anew, for seconds."""
    import matplotlib.font_manager  # noqa: F401  makes it if there is none

    return Path(matplotlib.get_cachedir()).glob("fontlist-*.json")


@functools.cache
def _places(module):
    """The folder or files of an installed module, found without importing it."""
    *above, last = module.split(".")
    try:
        roots = importlib.util.find_spec(".".join(above)).submodule_search_locations if above else sys.path
    except (ImportError, AttributeError):
        return []
    return [str(p) for root in roots for p in [Path(root) / last, *Path(root).glob(f"{last}.*py"), *Path(root).glob(f"{last}.*so")]
            if p.exists() and root]


def _processor_time(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def _memory(pid, table, fields):
    try:
        lines = Path(f"/proc/{pid}/{table}").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.split(":")[0] in fields)
