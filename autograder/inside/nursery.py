"""The warm process: it has imported what notebooks import, and forks a kernel for each submission.

    python -m autograder.inside.nursery SOCKET MODULE...

It knows nothing of the course: its forks inherit its memory.  It keeps to one thread, since a fork
copies only one.  The grader sends a request and the descriptor of a room's first process; the fork joins
that room's namespaces, forks once more to be in its process namespace, and becomes the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import socket
import sys

from autograder.inside.kernel import serve
from autograder.inside.lock_down import Limits, lock_down

NAMESPACES = {"user": 0x10000000, "mnt": 0x00020000, "pid": 0x20000000, "net": 0x40000000,
              "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000}


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise SystemExit(f"the warm process has {threads} threads after its imports; it must have one")
    gc.collect()
    gc.freeze()  # a fork's collector leaves alone what is here, and so does not copy its memory
    channel.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 2**20, 2)
        if not message:
            return
        request = json.loads(message)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            channel.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
        elif os.fork() == 0:
            _enter(channel, request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _enter(channel, request, room, ready):
    """In a fork: go into the room, fork the kernel there, and end as it ends."""
    code = 1
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(room, sum(NAMESPACES[name] for name in request["namespaces"])):
            raise OSError(ctypes.get_errno(), "setns: " + os.strerror(ctypes.get_errno()))
        kernel = os.fork()
        if kernel == 0:
            channel.close()
            os.close(room)
            _become_kernel(request, ready)
        channel.send(json.dumps({"kernel": kernel, "parent": os.getpid()}).encode())
        channel.close()
        os.close(ready)
        _, status = os.waitpid(kernel, 0)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
    except OSError as e:
        channel.send(json.dumps({"problem": str(e)}).encode())
    finally:
        os._exit(code)


def _become_kernel(request, ready):
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(request["environment"])
        lock_down(Limits(**request["limits"]), request["user"])
        _seed_anew()
        if matplotlib := sys.modules.get("matplotlib"):
            matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]  # loaded at the first figure
        serve(request, ready)
    except BaseException as e:
        with contextlib.suppress(OSError):
            os.write(ready, f"{type(e).__name__}: {e}\n".encode())
        os._exit(1)
    os._exit(0)


def _seed_anew():
    """Forks must not share random numbers; who wants the same each time sets a seed."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()


if __name__ == "__main__":
    main()
