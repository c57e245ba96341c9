"""The grader's handle on a warm process (autograder.inside.nursery), which forks kernels into rooms."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

from autograder.sandbox.room import START_LIMIT, Room, SandboxError, environment, namespaces, wait_for_line
from cnnlab.calls import module_of

# What the notebooks of the course import, and parts of it that would be imported at first use.  Nothing
# of matplotlib_inline: loaded before there is a kernel, it shows no figures.
PRELOAD = ("pyseccomp", "numpy", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.animation",
           "IPython", "ipykernel.kernelapp", "ipykernel.ipkernel", "cnnlab.calls",
           "cnnlab.wire", "cnnlab.plots", "cnnlab.data", "cnnlab.animation", "torch", "torch.optim", "torch._dynamo",
           "triton.runtime.interpreter")


class Nursery:
    """A warm process, which has imported PRELOAD, but for the modules in `without` and what is below them."""

    def __init__(self, without: tuple[str, ...]):
        """Raises SandboxError if it cannot be."""
        wanted = [m for m in PRELOAD if not module_of(m, without)]
        self._lock = threading.Lock()  # a cluster's worker may use it from several threads
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autograder.inside.nursery", str(theirs.fileno()), *wanted],
                pass_fds=[theirs.fileno()], env=_environment(),
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._channel.settimeout(START_LIMIT * 2)
        try:
            ready = self._channel.recv(100)
        except TimeoutError:
            ready = b""
        if ready != b"ready":
            self._process.kill()
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise SandboxError("the warm process did not start: " + (said[-1] if said else "no reason given"))

    def fork_into(self, room: Room, settings: dict) -> int:
        """Start a kernel in `room`, whose first process only waits.  Returns what `ended` wants to know."""
        with self._lock:
            try:
                return self._fork_into(room, settings)
            except (OSError, ValueError, KeyError) as e:
                self.close()  # its next answer would be taken for that to another request
                raise SandboxError(f"the warm process failed: {e}") from e

    def _fork_into(self, room, settings):
        read, write = os.pipe()
        first = os.pidfd_open(room.first)
        try:
            request = settings | {"namespaces": namespaces(), "environment": environment()}
            socket.send_fds(self._channel, [json.dumps(request).encode()], [first, write])
            os.close(write)
            write = -1
            answer = json.loads(self._channel.recv(10_000))
            if "problem" in answer:
                raise SandboxError(answer["problem"])
            room.kernel = answer["kernel"]
            wait_for_line(read)
            return answer["parent"]
        finally:
            for descriptor in (read, first, *([write] if write >= 0 else [])):
                os.close(descriptor)

    def ended(self, parent: int) -> int | None:
        """The exit code of a kernel that is gone, 128 + n for signal n; None if it cannot be known."""
        with self._lock:
            try:
                self._channel.send(json.dumps({"ended": parent}).encode())
                return json.loads(self._channel.recv(1000))["code"]
            except (OSError, ValueError, KeyError):
                self.close()
                return None

    def close(self) -> None:
        """End it; kernels that it forked stay until their rooms are closed."""
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()


def _environment():
    """A room's, but with a folder for Matplotlib's fonts that exists out here, and no backend.

    With one, Matplotlib would load it at once, before there is a kernel that shows the figures.
    """
    import matplotlib

    rest = {k: v for k, v in environment().items() if k != "MPLBACKEND"}
    return rest | {"HOME": "/nonexistent", "MPLCONFIGDIR": matplotlib.get_cachedir()}
