"""Talk to the kernel in a room: run cells, call functions by value.

What comes back is data and is not believed: sizes are counted as they arrive, outputs are rebuilt from
plain text and pictures, values are unpacked by cnnlab.wire.  Limits of time and memory are held from out here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from jupyter_client.session import Session
from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograder.inside.kernel import FOLDER, TARGET
from autograder.inside.lock_down import MB
from autograder.neutral import output as neutral_output
from autograder.sandbox.nursery import Nursery
from autograder.sandbox.room import START_LIMIT, Room, SandboxError, Spec, Unfenced, json_line, room_settings
from cnnlab.calls import CALL_LIMIT, Failure, Reply, stopped_says
from cnnlab.probes import Probe
from cnnlab.wire import Malformed, pack, unpack, whole

GRACE = 2.0  # seconds between asking code to stop and ending the room
MESSAGE = 16 * MB  # the largest message that is read at all
WAITING = 10  # messages that may wait to be read; the kernel keeps the others, within its own memory
OUTPUT = 16 * MB  # all that one cell may send
FLOOD = f"Stopped: it printed more than {OUTPUT // MB} MB."
KEPT = 200_000  # characters of a cell's printed text
NEVER = 10**9  # milliseconds: days
LOOK = 0.25  # seconds between two looks at memory and clock
WALL = 3  # a limit counts processor time; a room that waits, or is kept waiting, has so many times as long
GROWTH = 512 * MB  # of this process while it reads one answer; zmq keeps unfinished messages out of sight

_context = zmq.Context()


class Ended(Exception):  # noqa: N818
    """The kernel is gone; the message is one sentence on how."""


@dataclass
class Ran:
    """What running a cell gave.

    stopped: a sentence if it was stopped from outside, else "".  count: the number the kernel gave it.
    """

    outputs: list[NotebookNode] = field(default_factory=list)
    stopped: str = ""
    count: int | None = None


class Kernel:
    """A student's kernel in a room of its own."""

    def __init__(self, spec: Spec, nursery: Nursery | None = None, fenced: bool = True):
        """Start it: forked from `nursery`, or without one from cold.  Raises SandboxError.

        fenced=False: no room at all, with all rights of this process.
        """
        key = secrets.token_hex(16)
        settings = {"key": key, "forbidden": spec.forbidden}
        self._nursery, self._parent = nursery, None
        cold = [sys.executable, "-m", "autograder.inside.kernel"]
        if not fenced:
            self.room = Unfenced(spec, cold, settings)
        elif nursery:
            self.room = Room(spec, ["/bin/sh", "-c", "echo listening; exec cat"])
        else:
            self.room = Room(spec, cold, json_line(settings | room_settings(spec)))
            self.room.kernel = next(iter(self.room.processes()), None)
        try:
            if nursery:
                self._parent = nursery.fork_into(self.room, settings | room_settings(spec))
            self._process = os.pidfd_open(self.room.kernel)
            if fenced:  # if memory runs out, this goes first; in there it cannot be changed
                Path(f"/proc/{self.room.kernel}/oom_score_adj").write_text("1000")
        except (SandboxError, OSError, TypeError) as e:
            self.room.close()
            raise SandboxError(f"the kernel could not be started: {e}") from e
        self._session = Session(key=key.encode(), username="grader")
        self._shell, self._iopub = self._connect(zmq.DEALER, 1), self._connect(zmq.SUB, 2)
        self._poller = zmq.Poller()
        # zmq closes the connection when a message is larger than MESSAGE.
        self._cut = [s.get_monitor_socket(zmq.EVENT_DISCONNECTED) for s in (self._shell, self._iopub)]
        for socket in (self._shell, self._iopub, self._process, *self._cut):
            self._poller.register(socket, zmq.POLLIN)
        self._memory = spec.limits.memory
        self._requests = 0
        self._comm = secrets.token_hex(16)
        self._wait_until_heard()
        self._send("comm_open", {"comm_id": self._comm, "target_name": TARGET, "data": {}})

    def execute(self, source: str, limit: float) -> Ran:
        """Run a cell for at most `limit` seconds of processor time.  Raises Ended if that was the end of the kernel."""
        request = self._send("execute_request", {
            "code": source, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": True})
        outputs = _Outputs()
        late = f"Stopped: this cell ran for more than {limit:g} seconds, probably a loop that never ends."
        stopped = self._follow(request, limit, late, outputs.take, wait_for_reply=True)
        return Ran(outputs.finished(), stopped, outputs.count)

    def look(self, exercise: str, function: str, parameters: tuple[str, ...],
             probes: tuple[Probe, ...]) -> tuple[str, tuple[str, ...]]:
        """Why `function` cannot be called as the exercise does, or "", and the names its code mentions.

        Raises Ended.
        """
        buffers = []
        data, _ = self._ask({
            "op": "look", "target": {"name": function}, "exercise": exercise, "function": function,
            "parameters": parameters, "probes": [_probe(p, buffers) for p in probes]}, buffers, CALL_LIMIT)
        if isinstance(data.get("complaint"), str) and isinstance(data.get("uses"), list):
            return whole(data["complaint"][:2000]), tuple(whole(str(n)[:200]) for n in data["uses"][:200])
        if str(data.get("problem", "")).startswith("KeyError"):
            return (f"`{function}` is not defined: the cell that defines it is gone, or it did not run to "
                    "its end."), ()
        return f"It could not be looked at: {whole(str(data.get('problem', 'no answer came'))[:300])}.", ()

    def call(self, target: dict, probe: Probe, limit: float, forbidden: tuple[str, ...] = ()) -> Reply:
        """Call a function as `probe` says.  target: {"name": …} or {"handle": …, "attribute": …}.

        What becomes of it is a Reply, also if it ends the kernel.
        """
        if limit <= 0:
            return _stopped()
        buffers = []
        try:
            data, received = self._ask({"op": "call", "target": target, "probe": _probe(probe, buffers),
                                        "limit": limit, "forbidden": forbidden}, buffers, limit)
            return _reply(data, received)
        except Malformed as e:
            return Reply(failure=Failure("", f"What came back could not be read: {e}."))
        except Ended as e:
            return Reply(failure=Failure("", str(e), "ended"))

    def close(self) -> None:
        """End the kernel and its room."""
        for socket in (self._shell, self._iopub):
            socket.disable_monitor()
        for socket in (self._shell, self._iopub, *self._cut):
            socket.close(linger=0)
        self._code()

    def _code(self, ended_itself=False):
        """End the room and return how the kernel ended: its exit code, once."""
        if self._process is None:
            return None
        os.close(self._process)
        self._process = None
        code = self.room.wait() if ended_itself and not self._nursery else None
        self.room.close()
        return self._nursery.ended(self._parent) if self._nursery and self._parent else code

    def _connect(self, kind, number):
        socket = _context.socket(kind)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE)
        socket.setsockopt(zmq.RCVHWM, WAITING)
        # Once: by a link in its place, the student's code could lead a second connection elsewhere.  Not by -1, with which
        # zmq takes away what was received when the connection ends, also the rest of a message that is half read.
        socket.setsockopt(zmq.RECONNECT_IVL, NEVER)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"ipc://{self.room.outside(FOLDER)}/socket-{number}")
        return socket

    def _wait_until_heard(self):
        """What a kernel publishes before the subscription has reached it is lost, so ask until it is not."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            self._send("kernel_info_request", {})
            if self._iopub.poll(100):
                return
        self.close()
        raise SandboxError(f"the kernel did not answer within {START_LIMIT} s")

    def _send(self, kind, content, buffers=()):
        message = self._session.send(self._shell, kind, content, buffers=list(buffers))
        return message["header"]["msg_id"]

    def _ask(self, request, buffers, limit):
        """Send a request over the comm and return (data, buffers) of the answer."""
        self._requests += 1
        answers = []

        def take(message):
            data = message["content"].get("data")
            if message["msg_type"] == "comm_msg" and isinstance(data, dict) and data.get("request") == self._requests:
                answers.append((data, [bytes(b) for b in message.get("buffers", [])]))

        parent = self._send("comm_msg", {"comm_id": self._comm, "data": request | {"number": self._requests}}, buffers)
        stopped = self._follow(parent, limit + GRACE, stopped_says(), take)
        if stopped and not answers:
            return {"value": None, "failure": {"name": "Stopped", "says": stopped, "kind": "stopped"}}, []
        return answers[0] if answers else ({"problem": "no answer came"}, [])

    def _follow(self, parent, limit, late, take, wait_for_reply=False):
        """Read what a request causes until it is done.  Returns a sentence if it had to be stopped.

        Raises Ended if the kernel is gone, also because it did not stop when asked to.
        """
        stopped, received, replied, idle, replied_at = "", 0, not wait_for_reply, False, 0.0
        next_look, end = time.monotonic() + LOOK, time.monotonic() + WALL * limit
        used, own = self.room.processor_time(), _own_memory()
        while not (replied and idle):
            ready = dict(self._poller.poll(1000 * LOOK))
            for socket in (self._shell, self._iopub):
                if socket not in ready:
                    continue
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:  # its connection ended after the poll, and what was waiting went with it
                    del ready[socket]
                    continue
                message, size = self._read(frames)
                received += size
                if message is None or message["parent_header"].get("msg_id") != parent:
                    continue
                if socket is self._shell:
                    replied = True
                elif message["msg_type"] == "status":
                    idle = message["content"].get("execution_state") == "idle"
                else:
                    take(message)
            if not (self._shell in ready or self._iopub in ready):
                cut = any(socket in ready for socket in self._cut)
                # A process that ends closes its connections a moment before it is gone.
                if self._process in ready or (cut and select.select([self._process], [], [], LOOK)[0]):
                    raise Ended(stopped or _how(self._code(ended_itself=True)))
                if cut:
                    self._code()
                    raise Ended(stopped or FLOOD)
            now = time.monotonic()
            if replied and wait_for_reply:
                replied_at = replied_at or now
                if now > replied_at + GRACE:  # whatever became of the last message, the cell is done
                    return stopped
            due = now > next_look
            next_look = now + LOOK if due else next_look
            if not stopped:
                if now > end or (due and self.room.processor_time() - used > limit):
                    stopped = late
                elif received > OUTPUT:
                    stopped = FLOOD
                if stopped:
                    end = now + GRACE
                    with contextlib.suppress(ProcessLookupError):  # gone by itself; the next look says so
                        signal.pidfd_send_signal(self._process, signal.SIGINT)
            elif stopped and (now > end or received > 4 * OUTPUT):
                self._code()
                raise Ended(stopped)
            if due and self.room.memory() > self._memory:
                self._code()
                raise Ended(f"Stopped: it used more than {self._memory / 1024 / MB:g} GB of memory.")
            if due and _own_memory() - own > GROWTH:
                self._code()
                raise Ended(FLOOD)
        return stopped

    def _read(self, frames):
        """(message or None, bytes).  Nothing a kernel sends can make this raise."""
        size = sum(map(len, frames)) + 100 * len(frames)
        if size > OUTPUT or len(frames) > 1000:  # an answer has as many frames as there are arrays, and some
            return None, size
        try:
            _, parts = self._session.feed_identities(frames, copy=False)
            message = self._session.deserialize(parts, content=True, copy=False)
            if isinstance(message["content"], dict) and isinstance(message["parent_header"], dict):
                return message, size
        except Exception:  # noqa: BLE001, S110  it may be anything, and be wrong in any way
            pass
        return None, size


class _Outputs:
    """Collects a cell's outputs from messages, rebuilt so that they can do nothing to who looks at them."""

    def __init__(self):
        self._list, self._printed, self.count = [], 0, None

    def take(self, message):
        kind, content = message["msg_type"], message["content"]
        if kind == "execute_input" and type(content.get("execution_count")) is int:
            self.count = content["execution_count"]
        if kind == "clear_output":
            self._list.clear()
        if kind in ("update_display_data", "display_data"):
            kind = "display_data"
        if kind not in ("stream", "display_data", "execute_result", "error") or len(self._list) > 1000:
            return
        raw = {"output_type": kind, **{k: content.get(k) for k in (
            "name", "text", "data", "ename", "evalue", "traceback") if k in content}}
        if kind == "execute_result":
            count = content.get("execution_count")
            raw["execution_count"] = count if type(count) is int else None
        clean = neutral_output(NotebookNode(raw))
        if clean is None:
            return
        if clean.output_type == "stream":
            room_left = KEPT - self._printed
            self._printed += len(clean.text)
            clean.text = clean.text[:max(0, room_left)]
            last = self._list[-1] if self._list else None
            if last is not None and last.output_type == "stream" and last.name == clean.name:
                last.text += clean.text
                return
        self._list.append(clean)

    def finished(self):
        if self._printed > KEPT:
            self._list.append(new_output("stream", name="stdout", text=(
                f"\n[{self._printed - KEPT} more characters were printed and left out]\n")))
        return self._list


def _probe(probe, buffers):
    packed = probe.mapped(lambda value: pack(value, buffers, _no_objects))
    return {"args": list(packed.args), "kwargs": packed.kwargs, "steps": [list(step) for step in packed.steps],
            "device": packed.device, "grid": list(packed.grid), "written": list(packed.written)}


def _no_objects(value):
    raise TypeError(f"A probe cannot hold a {type(value).__name__}.")


def _reply(data, buffers):
    failure = data.get("failure")
    if "problem" in data:
        return Reply(failure=Failure("", f"The call failed: {whole(str(data['problem'])[:300])}."))
    if failure is not None:
        if not isinstance(failure, dict):
            raise Malformed("a failure without words")
        kind = failure.get("kind")
        return Reply(failure=Failure(whole(str(failure.get("name"))[:200]), whole(str(failure.get("says"))[:2000]),
                                     kind if kind in ("stub", "stopped") else ""),
                     printed=whole(str(data.get("printed"))[:KEPT]))
    return Reply(unpack(data.get("value"), buffers), None, whole(str(data.get("printed"))[:KEPT]),
                 whole(str(data.get("changed", ""))[:200]))


def _own_memory():
    """Bytes that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _stopped():
    return Reply(failure=Failure("Stopped", stopped_says(), "stopped"))


def _how(code):
    """A sentence for the exit code of a kernel that ended by itself."""
    number = code - 128 if code and code > 128 else 0
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"It crashed Python ({signal.Signals(number).name}): compiled code was used in a way it cannot stand."
    if number == signal.SIGXCPU:
        return "Stopped: it used up the processor time a notebook may take."
    if number:
        name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
        return f"It ended Python itself, by {name}."
    return f"It ended Python itself, with exit code {code}: a call of exit() or os._exit()."
