"""The student's kernel: an ordinary ipykernel, with a comm over which the grader calls functions by value."""

from __future__ import annotations

import json
import os
import signal
import sys

from autograder.inside.lock_down import Limits, lock_down

TARGET = "cnnlab.calls"
FOLDER = "/run/kernel"  # of the sockets; a small file system of its own
HOME = "/home/student"


def main() -> None:
    """Start a kernel in this process, which bubblewrap has just put into a room; the settings come on stdin."""
    settings = json.loads(sys.stdin.buffer.readline())
    if settings["limits"]:  # none of them with --unsafe-no-sandbox
        lock_down(Limits(**settings["limits"]), settings["user"])
    serve(settings, ready=1)


def serve(settings: dict, ready: int) -> None:
    """Be the kernel until it is told to stop.  Writes a line to the descriptor `ready` once it listens.

    settings: "key" of the messages, "forbidden" modules, "folder" of the sockets, "home" to work in.
    """
    os.chdir(settings["home"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the grader does with Ctrl-C
    _refuse(settings["forbidden"])
    # Imported late: the warm process must have no zmq context when it forks.
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    class App(IPKernelApp):
        def _bind_socket(self, socket, port):
            socket.set_hwm(0)  # or messages are dropped, and with them the one that says that a cell is done
            return super()._bind_socket(socket, port)

    config = Config()
    config.HistoryManager.enabled = False
    config.Session.key = settings["key"].encode()
    config.App.transport, config.App.ip = "ipc", f"{settings['folder']}/socket"
    config.App.connection_file = f"{settings['folder']}/connection.json"
    for number, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1):
        config.App[f"{channel}_port"] = number
    # Bytes written to descriptors 1 and 2 are caught by the kernel; where it started does not matter.
    own_ready = os.dup(ready)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.modules["debugpy"] = None  # most of a kernel's start would be spent on its debugger, which nobody uses here
    try:
        app = App.instance(config=config)
        app.initialize([])
        del sys.modules["debugpy"]
        Server(app.kernel)
        os.write(own_ready, b"listening\n")
    except Exception as e:
        os.write(own_ready, f"{type(e).__name__}: {e}\n".encode())
        raise
    os.close(own_ready)
    app.start()


class Server:
    """Answers the grader's requests: look at a function, call it.  Everything it sends is data.

    It runs in the student's process, so the grader believes nothing it says.
    """

    def __init__(self, kernel):
        self.names = kernel.shell.user_ns
        self.held = {}
        kernel.comm_manager.register_target(TARGET, self._open)

    def _open(self, comm, message):
        @comm.on_msg
        def answer(message):
            request = message["content"]["data"]
            buffers = []
            try:
                reply = getattr(self, "_" + request["op"])(request, message.get("buffers", []), buffers)
            except KeyboardInterrupt:
                raise
            except BaseException as e:  # noqa: BLE001
                reply, buffers = {"problem": f"{type(e).__name__}: {e}"[:300]}, []
            comm.send({"request": request["number"], **reply}, buffers=buffers)

    def _look(self, request, received, buffers):
        """What stands against calling a function as the exercise does, and the names its code mentions."""
        from cnnlab.calls import Local

        function = Local(self._target(request["target"]))
        probes = self._probes(request["probes"], received)
        complaint = function.complaint(request["exercise"], request["function"], tuple(request["parameters"]), probes)
        return {"complaint": complaint[:2000], "uses": [str(n) for n in function.uses()][:200]}

    def _call(self, request, received, buffers):
        from cnnlab.calls import call
        from cnnlab.wire import Malformed, pack

        (probe,) = self._probes([request["probe"]], received)
        reply = call(self._target(request["target"]), probe, request["limit"], tuple(request["forbidden"]))
        failure = reply.failure and {"name": reply.failure.name[:200], "says": reply.failure.says[:2000],
                                     "kind": reply.failure.kind}
        try:
            value = pack(reply.value, buffers, self._keep)
        except Malformed as e:
            buffers.clear()
            value, failure = None, {"name": "", "says": str(e), "kind": ""}
        return {"value": value, "failure": failure, "printed": reply.printed, "changed": reply.changed[:200]}

    def _target(self, target):
        """A name of the notebook, or an attribute of an object that is held."""
        if "name" in target:
            return self.names[target["name"]]
        held = self.held[target["handle"]]
        return getattr(held, target["attribute"]) if "attribute" in target else held

    def _probes(self, forms, buffers):
        from cnnlab.probes import Probe
        from cnnlab.wire import unpack

        return tuple(Probe(tuple(form["args"]), form["kwargs"], steps=tuple(map(tuple, form["steps"])),
                           device=form["device"], grid=tuple(form["grid"]), written=tuple(form["written"])).mapped(
                         lambda value: unpack(value, buffers, self.held.__getitem__)) for form in forms)

    def _keep(self, value):
        number = len(self.held) + 1
        self.held[number] = value
        return number


def _refuse(forbidden: list[str]) -> None:
    """Let a forbidden module be imported as something that raises Forbidden at its first use.

    The real one is not in the room (autograder.sandbox.room).  A student who imports and does not use it
    loses nothing, here as in their own notebook.
    """
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

    from cnnlab.calls import Forbidden, module_of

    class Absent:
        def __init__(self, module):
            self._module = module

        def __call__(self, *args, **kwargs):
            raise Forbidden(self._module)

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return self

    class Absence(Loader):
        def __init__(self, module):
            self.module = module

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            absent = Absent(self.module)
            module.__path__ = []
            module.__getattr__ = lambda name: getattr(absent, name)

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            module = module_of(name, forbidden)
            return ModuleSpec(name, Absence(module), is_package=True) if module else None

    if forbidden:
        sys.meta_path.insert(0, Finder)


if __name__ == "__main__":
    main()
