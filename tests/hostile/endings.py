"""Attacks and accidents that end the kernel, never end, or go on after they should have ended."""

from tests.hostile.case import CONVOLUTION, attack

NAME_PROCESS = "import ctypes; ctypes.CDLL(None).prctl(15, b'@MARK@', 0, 0, 0)\n"


def in_function(body):
    """brighten with `body` before a wrong answer."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return f"def brighten(image, amount):\n{lines}\n    return image\n"


CASES = [
    attack("os_exit", "os._exit ends the kernel", "import os; os._exit(0)\n"),
    attack("exit_in_function", "the function ends the kernel", in_function("import os; os._exit(0)")),
    attack("kills_itself", "SIGKILL to its own process", "import os; os.kill(os.getpid(), 9)\n"),
    attack("stops_itself", "SIGSTOP to its own process: alive, and deaf", "import os; os.kill(os.getpid(), 19)\n"),
    attack("kills_its_parent", "SIGKILL to its parent and grandparents", """
        import os
        pid = os.getppid()
        for _ in range(5):
            if pid <= 1:
                break
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            os.kill(pid, 9)
            pid = parent
        """),
    attack("kills_everything", "kill -9 -1", "import os; os.kill(-1, 9)\n"),
    attack("kills_its_group", "SIGKILL to its process group", "import os; os.killpg(0, 9)\n"),
    attack("segfault", "reads address 0 through ctypes", "import ctypes; ctypes.string_at(0)\n"),
    attack("segfault_in_function", "reads address 0 when it is called",
           in_function("import ctypes; ctypes.string_at(0)")),
    attack("abort", "os.abort", "import os; os.abort()\n"),
    attack("stack_overflow", "recursion without a limit", """
        import sys, threading
        sys.setrecursionlimit(10**9)
        class A:
            def __repr__(self): return repr(self)
            __getattr__ = lambda self, name: getattr(self, name)
        def brighten(image, amount):
            return getattr(A(), "x")
        """),
    attack("deep_recursion", "an ordinary recursion without an end", in_function("return brighten(image, amount)")),
    attack("exit_call", "exit() in the cell and SystemExit in the function",
           in_function("raise SystemExit(0)") + "exit()\n"),
    attack("keyboard_interrupt", "the function raises KeyboardInterrupt", in_function("raise KeyboardInterrupt")),
    attack("endless_top_level", "an endless loop in a cell", "while True:\n    pass\n"),
    attack("endless_function", "an endless loop in the function", in_function("while True:\n    pass")),
    attack("endless_import", "an endless loop when a module of the student's is imported", """
        import sys, types
        exec(compile("while True: pass", "slow.py", "exec"), types.ModuleType("slow").__dict__)
        """),
    attack("endless_del", "an endless loop in __del__ of the value that is returned", """
        class Sticky:
            def __del__(self):
                while True: pass
        def brighten(image, amount):
            return Sticky()
        """),
    attack("endless_repr", "an endless loop in __repr__ of the value that is returned", """
        class Slow:
            def __repr__(self):
                while True: pass
            __str__ = __array__ = __len__ = __float__ = __bool__ = __reduce__ = __repr__
        def brighten(image, amount):
            return Slow()
        Slow()
        """),
    attack("catches_everything", "a loop that catches every exception, KeyboardInterrupt too", """
        def brighten(image, amount):
            while True:
                try:
                    while True: pass
                except BaseException:
                    continue
        """),
    attack("catches_everything_top_level", "the same loop in a cell", """
        while True:
            try:
                while True: pass
            except BaseException:
                continue
        """),
    attack("alarm_ignored", "SIGALRM and SIGINT ignored, then an endless loop in the function", """
        import signal
        for s in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
            signal.signal(s, signal.SIG_IGN)
        def brighten(image, amount):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            while True: pass
        """),
    attack("timer_cancelled", "the function cancels the timer of its check and never returns", in_function("""
import signal
signal.setitimer(signal.ITIMER_REAL, 0)
while True: pass""")),
    attack("interrupt_replaced", "SIGINT prints instead of interrupting, in an endless cell", """
        import signal
        signal.signal(signal.SIGINT, lambda *a: print("no"))
        while True: pass
        """),
    attack("signals_blocked", "pthread_sigmask blocks every signal, then an endless cell", """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True: pass
        """),
    attack("trace_function", "sys.settrace and setprofile swallow exceptions and slow everything down", """
        import sys, threading
        def trace(frame, event, arg):
            frame.f_trace_lines = frame.f_trace_opcodes = True
            return trace
        sys.settrace(trace); threading.settrace(trace); sys.setprofile(lambda *a: sum(range(2000)))
        """),
    attack("regex_backtracking", "a regular expression that holds the interpreter for years",
           in_function("import re; re.match('(a+)+b', 'a' * 60)")),
    attack("long_power", "10**10**8 holds the interpreter in C", in_function("return 10**10**8")),
    attack("sum_repeat", "sum(itertools.repeat(1)) in a cell", "import itertools; sum(itertools.repeat(1))\n"),
    attack("gil_held", "a C call that keeps the interpreter's lock: PyDLL sleep",
           "import ctypes; ctypes.PyDLL(None).sleep(600)\n"),
    attack("sleeps", "sleeps for an hour in the function", in_function("import time; time.sleep(3600)")),
    attack("asks_for_input", "input() in a cell, and in the function", in_function("input('go on?')") + "input()\n"),
    attack("await_for_ever", "top-level await of a future that never comes", """
        import asyncio
        await asyncio.get_running_loop().create_future()
        """),
    attack("slow_every_call", "each call takes four seconds", in_function("import time; time.sleep(4)")),
    attack("slow_every_exercise", "every function of a long notebook takes an hour", """
        import time
        def window_response(*a):
            time.sleep(3600)
        convolve1d = cross_correlate1d = cross_correlate2d = rotate180 = convolve2d = window_response
        gaussian_kernel = sobel_magnitude = separable_filter = separable_cost = fft_convolve2d = window_response
        """, slug=CONVOLUTION, exercise="window_response"),
    attack("atexit_hangs", "atexit never ends, and writes when the kernel is shut down", NAME_PROCESS + """
import atexit, time
def last():
    open("@OUT@/@MARK@", "w").write("here")
    time.sleep(300)
atexit.register(last)
"""),
    attack("thread_tampers_later", "a thread keeps on changing check, NumPy and the outputs", """
        import threading, time
        def tamper():
            until = time.time() + 60
            while time.time() < until:
                get_ipython().user_ns["check"] = lambda *a: 1.0
                np.allclose = lambda *a, **k: True
        shell = get_ipython()
        get_ipython = lambda: shell
        threading.Thread(target=tamper, daemon=True).start()
        """),
    attack("thread_that_never_ends", "a thread that is not a daemon keeps the kernel from ending", NAME_PROCESS + """
import threading, time
threading.Thread(target=lambda: time.sleep(400)).start()
"""),
    attack("child_outlives", "a forked child that outlives the kernel", """
        import ctypes, os, time
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"@MARK@", 0, 0, 0)
            time.sleep(400)
            os._exit(0)
        """),
    attack("daemon_double_fork", "a daemon: forked twice, its own session, all descriptors closed", """
        import ctypes, os, signal, time
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            ctypes.CDLL(None).prctl(15, b"@MARK@", 0, 0, 0)
            for s in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(s, signal.SIG_IGN)
            os.closerange(0, 4096)
            time.sleep(400)
            os._exit(0)
        """),
    attack("subprocess_outlives", "nohup starts a program in a session of its own", """
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(400)", "@MARK@"], start_new_session=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        """),
    attack("child_answers_for_the_kernel", "a forked copy of the kernel answers on the same sockets", """
        import os, time
        if os.fork() == 0:
            def brighten(image, amount): return image
            until = time.time() + 30
            while time.time() < until:
                try:
                    get_ipython().kernel.iopub_socket.send_multipart([b"x"] * 8)
                except BaseException:
                    pass
            os._exit(0)
        """),
]
