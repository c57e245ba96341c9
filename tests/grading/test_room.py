"""The room in which student code runs, warm and cold: what it can see, do and use up, and what is left of it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import zmq

from autograder.inside.lock_down import MB, Limits
from autograder.sandbox import room as rooms
from autograder.sandbox.kernel import Ended, Kernel
from autograder.sandbox.nursery import Nursery
from autograder.sandbox.room import Spec, obstacle
from cnnlab.compare import Handle
from cnnlab.probes import Probe, strided

SMALL = Limits(memory=512 * MB, processes=60, disk=8 * MB, file_size=4 * MB, cpu=20)
SPEC = Spec(SMALL, ("torch", "scipy.signal"), {"given/table.csv": b"1,2\n"})


@pytest.fixture(scope="module")
def nursery():
    warm = Nursery(SPEC.forbidden)
    yield warm
    warm.close()


@pytest.fixture(params=["warm", "cold"])
def kernel(request, nursery):
    one = Kernel(SPEC, nursery if request.param == "warm" else None)
    yield one
    one.close()


def run(kernel, source, limit=10):
    """What the cell printed, or the last line of the error it ended with."""
    ran = kernel.execute(source, limit)
    assert not ran.stopped, ran.stopped
    return "".join(o.text if o.output_type == "stream" else f"{o.ename}: {o.evalue}" for o in ran.outputs
                   if o.output_type in ("stream", "error"))


def call(kernel, *args, **kwargs):
    return kernel.call({"name": "f"}, Probe(args, kwargs), 5)


def test_there_is_no_network(kernel):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    said = run(kernel, f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2)")
    assert "ConnectionRefusedError" in said
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    said = run(kernel, "import socket; print(socket.if_nameindex()); socket.gethostbyname('example.org')")
    assert "[(1, 'lo')]" in said and "gaierror" in said


def test_nothing_of_the_grader_can_be_seen(kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("CNNLAB_SECRET", "canary")
    secret = tmp_path / "secret"
    secret.write_text("canary")
    seen = run(kernel, f"""
import os
print(os.environ)
print([p for p in ({str(secret)!r}, {str(rooms.__file__)!r}, '/root/.bashrc', '/etc/shadow', '/etc/passwd')
       if os.path.exists(p)])
print(sorted(p for p in os.listdir('/proc') if p.isdecimal()))
""")
    assert "canary" not in seen and "[]" in seen
    processes = eval(seen.strip().splitlines()[-1])
    assert processes[0] == "1" and len(processes) <= 4
    assert "ModuleNotFoundError" in run(kernel, "import autograder.exercises")
    assert "ModuleNotFoundError" in run(kernel, "import autograder.course")


@pytest.mark.parametrize("place", ["/usr/x", "/x", "/etc/x", "/dev/x", os.path.dirname(np.__file__) + "/x",
                                   os.path.dirname(sys.modules["cnnlab"].__file__) + "/x"])
def test_the_system_cannot_be_written(kernel, place):
    assert "OSError" in run(kernel, f"open({place!r}, 'w')").replace("PermissionError", "OSError")
    assert not os.path.exists(place)


def test_it_runs_as_nobody_with_no_way_up(kernel):
    said = run(kernel, """
import os
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
print(os.getuid() != 0 or 'mapped', status['CapEff'], status['CapBnd'], status['NoNewPrivs'], status['Seccomp'])
for step in (lambda: os.setuid(0), lambda: os.chroot('/tmp'), lambda: os.setns(0) if hasattr(os, 'setns') else os.chroot('/')):
    try:
        step(); print('allowed')
    except OSError as e:
        print(e.strerror)
""")
    assert said.startswith("True 0000000000000000 ") and "1 2" in said.splitlines()[0]
    assert "allowed" not in said


@pytest.mark.parametrize("name", ["unshare", "ptrace", "mount", "keyctl", "memfd_create", "bpf"])
def test_calls_that_lead_out_are_refused(kernel, name):
    number = {"unshare": 272, "ptrace": 101, "mount": 165, "keyctl": 250, "memfd_create": 319, "bpf": 321}[name]
    argument = 0x10000000 if name == "unshare" else 0
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of the calls are those of x86_64")
    assert run(kernel, f"import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
                       f"print(libc.syscall({number}, {argument}, 0, 0, 0, 0), ctypes.get_errno())") == "-1 1\n"


def test_what_comes_with_the_assignment_lies_in_the_working_folder(kernel):
    assert run(kernel, "print(open('given/table.csv').read())") == "1,2\n\n"


def test_nothing_survives_the_room(nursery):
    for warm in (nursery, None):
        first = Kernel(SPEC, warm)
        run(first, "open('/tmp/kept', 'w').write('x'); open('kept', 'w').write('x')\n"
                   "import numpy; numpy.changed = True\n"
                   "import subprocess; subprocess.Popen(['sleep', '7654'], start_new_session=True)")
        first.close()
        second = Kernel(SPEC, warm)
        assert run(second, "import os, numpy\nprint(os.path.exists('/tmp/kept'), os.path.exists('kept'), "
                           "hasattr(numpy, 'changed'))") == "False False False\n"
        second.close()
    assert not [line for line in processes() if "7654" in line]


def processes():
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                found.append(file.read())
        except OSError:
            continue
    return found


def test_random_numbers_differ_from_room_to_room(nursery):
    drawn = set()
    for _ in range(2):
        one = Kernel(SPEC, nursery)
        drawn.add(run(one, "import random, numpy as np; print(random.random(), np.random.rand())"))
        one.close()
    assert len(drawn) == 2


def test_processes_are_limited(kernel):
    said = run(kernel, """
import os, time
made = 0
try:
    for _ in range(500):
        if os.fork() == 0:
            time.sleep(60); os._exit(0)
        made += 1
except OSError as e:
    print(e.strerror)
print(made)
""")
    assert "Resource temporarily unavailable" in said and int(said.split()[-1]) < SMALL.processes


def test_memory_is_limited_for_one_process(kernel):
    assert "MemoryError" in run(kernel, "x = bytearray(10**9)")


def test_memory_is_limited_for_all_processes_together(kernel):
    with pytest.raises(Ended, match="used more than 0.5 GB of memory"):
        kernel.execute("import os, time\nchildren = [os.fork() for _ in range(3)]\n"
                       "keep = bytearray(os.urandom(1) * 200_000_000)\ntime.sleep(30)", 20)


def test_memory_that_the_watcher_cannot_see_is_refused(kernel):
    assert "Cannot allocate memory" in run(kernel, "import mmap; mmap.mmap(-1, 10**6)")


@pytest.mark.parametrize("attempt", [
    "open('/proc/self/oom_score_adj', 'w').write('0')", "open('/proc/1/mem', 'r+b')", "open('/proc/2/mem', 'r+b')",
    "open('/proc/self/mem', 'r+b')"])
def test_nothing_can_be_written_through_proc(kernel, attempt):
    said = run(kernel, attempt)
    assert "Read-only file system" in said or "Permission denied" in said


def test_the_environment_of_the_grader_cannot_be_read(nursery, monkeypatch):
    monkeypatch.setenv("CNNLAB_SECRET", "canary")
    for warm in (nursery, None):
        kernel = Kernel(SPEC, warm)
        assert "canary" not in run(kernel, """
import glob
for path in glob.glob('/proc/*/environ'):
    try:
        print(open(path).read())
    except OSError as e:
        print(e.strerror)
""")
        kernel.close()


def test_other_environments_packages_are_not_there(kernel):
    """They might hold what the exercise forbids."""
    said = run(kernel, f"""
import glob
for root in ('/usr', '/usr/local', {sys.base_prefix!r}):
    for folder in glob.glob(root + '/lib*/python3*/*-packages'):
        print(folder, glob.glob(folder + '/*'))
""")
    others = [line for line in said.splitlines() if line.split()[0] not in sys.path]
    assert all(line.endswith(" []") for line in others), others


def test_many_processes_together_have_the_time_of_one(kernel):
    start = time.monotonic()
    with pytest.raises(Ended, match="ran for more than 2 seconds|ended Python"):
        kernel.execute("import os\nfor _ in range(8):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\n"
                       "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)", 2)
    assert time.monotonic() - start < 20


def test_what_cannot_be_written_to_a_file_is_replaced(kernel):
    run(kernel, "def f(x): raise ValueError('\\ud800')")
    call(kernel, 1).failure.says.encode()


@pytest.mark.parametrize("folder", ["/tmp", ".", "/dev/shm", "/run/kernel"])
def test_disk_is_limited(kernel, folder):
    said = run(kernel, f"""
try:
    for i in range(50):
        with open({folder!r} + f'/fill{{i}}', 'wb') as f: f.write(bytes(10**6))
except OSError as e:
    print(i, e.strerror)
""")
    assert "No space left on device" in said and int(said.split()[0]) < 10


def test_a_large_file_is_refused(kernel):
    assert "OSError" in run(kernel, "with open('/dev/shm/x', 'wb') as f: f.write(bytes(6 * 10**6))")


@pytest.mark.parametrize(("code", "how"), [
    ("import os; os._exit(7)", "with exit code 7"), ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ("import os; os.abort()", "SIGABRT"), ("import os; os.kill(os.getpid(), 9)", "by SIGKILL")])
def test_how_a_kernel_ended_is_told(kernel, code, how):
    with pytest.raises(Ended, match=how):
        kernel.execute(code, 10)


def test_a_loop_is_interrupted_and_the_kernel_goes_on(kernel):
    ran = kernel.execute("x = 1\nwhile True: pass", 1)
    assert ran.stopped.startswith("Stopped: this cell ran for more than 1 seconds")
    assert run(kernel, "print(x)") == "1\n"


@pytest.mark.parametrize("code", [
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "import time\nwhile True:\n    try: time.sleep(0.01)\n    except BaseException: pass",
    "import collections, itertools; collections.deque(itertools.repeat(1), maxlen=0)"])
def test_code_that_will_not_stop_is_ended(kernel, code):
    start = time.monotonic()
    with pytest.raises(Ended, match="ran for more than 1 seconds"):
        kernel.execute(code, 1)
    assert time.monotonic() - start < 10


def test_a_message_too_large_to_read_ends_the_room_and_not_the_grader(kernel):
    with pytest.raises(Ended, match="printed more than"):
        kernel.execute("print('x' * (40 << 20))\nimport time; time.sleep(30)", 20)


def test_a_function_is_called_by_value(kernel):
    run(kernel, "import numpy as np\ndef f(x, y=1):\n    print('called'); return x * y, x.flags.c_contiguous, None, [1, 2.5]")
    reply = call(kernel, strided(np.arange(6.0).reshape(2, 3)), y=2)
    product, contiguous, none, numbers = reply.value
    assert (product == 2 * np.arange(6.0).reshape(2, 3)).all()
    assert (contiguous, none, numbers, reply.printed) == (False, None, [1, 2.5], "called\n")


def test_an_object_stays_in_the_room_and_can_be_called_there(kernel):
    run(kernel, "class Layer:\n    def __init__(self, by): self.by = by\n    def forward(self, x): return x * self.by\nf = Layer")
    layer = call(kernel, 3).value
    assert layer == Handle(layer.number, "a value of type Layer")
    reply = kernel.call({"handle": layer.number, "attribute": "forward"}, Probe((np.arange(3.0),), {}), 5)
    assert reply.value.tolist() == [0, 3, 6]


def test_a_call_that_hangs_is_stopped_and_the_next_one_answered(kernel):
    run(kernel, "def f(x):\n    while x: pass\n    return 5")
    assert kernel.call({"name": "f"}, Probe((1,), {}), 1).failure.kind == "stopped"
    assert call(kernel, 0).value == 5


def test_a_call_that_changes_its_input_or_fails_says_so(kernel):
    run(kernel, "def f(x):\n    x += 1\n    return x")
    assert call(kernel, np.zeros(3)).changed == "x"
    assert call(kernel, "text").failure.says.startswith("It raised TypeError")


def test_an_exercise_can_forbid_a_module_whose_use_then_says_so(kernel):
    run(kernel, "import torch\nfrom scipy.signal import correlate2d\ndef f(x): return correlate2d(x, x) if x.sum() else x")
    assert call(kernel, np.zeros((2, 2))).failure is None  # imported and not used
    assert "`scipy.signal` may not be used" in call(kernel, np.ones((2, 2))).failure.says


@pytest.mark.parametrize("forged", [
    {"value": {"npy": 0}}, {"value": {"npy": 7}}, {"value": [[[]]]}, {"failure": 3}, {"failure": {"says": {}}}, {},
    {"value": {"handle": 1}}, {"problem": ["x"]}, {"value": {"pickle": "x"}}])
def test_a_forged_answer_is_no_answer(kernel, forged):
    """The student's code answers in place of the server; what it says is only ever data."""
    run(kernel, f"""
from autograder.inside.kernel import Server
Server._call = lambda self, request, received, buffers: buffers.append(b'\\x93NUMPY forged') or {forged!r}
f = 1
""")
    reply = call(kernel, 1)
    assert reply.failure is not None or reply.value is None


def test_warm_and_cold_give_the_same_outputs(nursery):
    cells = ["import numpy as np, matplotlib.pyplot as plt\nprint(hash('a'))", "plt.plot([1, 3, 2]); plt.show()",
             "{'b': 1, 'a': np.arange(3)}", "1 / 0", "plt.imshow(np.eye(3));", "import sys; print('x', file=sys.stderr)",
             "await __import__('asyncio').sleep(0); 5", "%time 1", "!echo hello"]
    ran = []
    for warm in (nursery, None):
        kernel = Kernel(SPEC, warm)
        ran.append([kernel.execute(c, 10).outputs for c in cells])
        kernel.close()
    for source, a, b in zip(cells, *ran):
        if "%time" not in source:
            assert a == b, source
    assert [o.output_type for o in ran[0][1]] == ["display_data"]


def test_without_bubblewrap_it_refuses_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "sudo apt install bubblewrap" in obstacle() and "--unsafe-no-sandbox" in obstacle()


def test_a_bubblewrap_that_does_not_work_here_is_explained(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "No permissions to create new namespace" in obstacle()


def test_a_filter_that_cannot_be_made_stops_the_kernel(tmp_path):
    """A kernel that is not locked down must never start."""
    script = ("import pyseccomp, autograder.inside.lock_down as l\n"
              "l._filter = lambda seccomp: None\nl.lock_down(l.Limits(), 12345 if __import__('os').getuid() == 0 else None)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "the room is not closed" in done.stderr


def test_messages_that_vanish_with_their_kernel_are_not_waited_for(kernel):
    """Its connection may end between the moment in which a message is there and the one in which it is read."""
    class Poller:
        def __init__(self, own):
            self.own = own

        def poll(self, wait):
            ready = self.own.poll(wait)
            if any(socket in dict(ready) for socket in (kernel._shell, kernel._iopub)):
                with contextlib.suppress(ProcessLookupError):  # at the second time
                    os.kill(kernel.room.kernel, 9)
                time.sleep(0.5)
                for socket in (kernel._shell, kernel._iopub):
                    socket.getsockopt(zmq.EVENTS)  # has libzmq act on what happened, as every hundredth read does
            return ready

    kernel._poller = Poller(kernel._poller)
    with pytest.raises(Ended):
        kernel.execute("print(1)", 5)
