"""Attacks on the room itself: on the server in the student's process that answers the grader's calls."""

from tests.hostile.case import CONVOLUTION, attack

# The server is found among all objects; `answer(request, buffers)` then stands for what it does.
SERVER = """
import gc
servers = [o for o in gc.get_objects() if type(o).__name__ == "Server" and hasattr(o, "held")]
print(len(servers), "servers")
def take_over(answer):
    for server in servers:
        server._call = server._look = answer
"""


def takes_over(name, what, answer, **how):
    """The server's answers are those of a function of the student's."""
    body = "\n".join("    " + line for line in answer.strip().splitlines())
    return attack(name, what, f"{SERVER}\ndef answer(request, received, buffers):\n{body}\ntake_over(answer)\n", **how)


CASES = [
    takes_over("server_says_passed", "the answer says that all is well, in all words that might count", """
return {"value": None, "failure": None, "printed": "", "changed": "", "complaint": "", "uses": [], "score": 1.0,
        "passed": True, "difference": None, "points": 1.0, "expected": None, "verdict": {"score": 1.0}}
"""),
    takes_over("server_echoes", "the answer is the request", """
buffers.extend(bytes(b) for b in received)
return {**request, "value": request.get("probe", request).get("args", [None])[0], "failure": None, "complaint": "",
        "uses": []}
"""),
    takes_over("server_sends_types", "every field of the answer is of another type", """
import random
odd = [[], {}, "x", 7, -1.5, None, True, [[1]], {"a": {"b": []}}, "\\ud800", "x" * 100_000]
return {k: random.choice(odd) for k in ("value", "failure", "printed", "changed", "complaint", "uses", "problem")}
"""),
    takes_over("server_sends_forms", "values in forms that no value has", """
import random
forms = [{"int": "9" * 16_000}, {"int": ["1"]}, {"float": "x"}, {"float": "0x1p999999"}, {"complex": ["1"]},
         {"complex": "nan"}, {"list": {"a": 1}}, {"tuple": 5}, {"dict": [[1]]}, {"dict": [["a", {"dict": 3}]]},
         {"npy": 10**9}, {"npy": -1}, {"npy": "0"}, {"scalar": None}, {"handle": "x", "is": []}, {"handle": -1},
         {"npy": True, "strided": True}, {}, {"": 1}, [1], 10**400]
buffers.append(b"\\x93NUMPY\\x01\\x00" + b"\\xff" * 20)
return {"value": random.choice(forms), "failure": None, "printed": "", "changed": "", "complaint": "", "uses": []}
"""),
    takes_over("server_sends_bombs", "small forms that would become large ones", """
import struct
def npy(header):
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(text)) + text
buffers.append(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000), }"))
buffers.append(npy("{'descr': '<U2000000000', 'fortran_order': False, 'shape': (1,), }"))
buffers.append(npy("{'descr': [('a', '<f8', (100000, 100000))], 'fortran_order': False, 'shape': (0,), }"))
answer.n = getattr(answer, "n", -1) + 1
return {"value": {"npy": answer.n % 3}, "failure": None, "printed": "", "changed": "", "complaint": "", "uses": []}
"""),
    takes_over("server_sends_pages", "HTML, control characters and a megabyte in every text of the answer", """
bad = "<script>alert('@MARK@')</script>\\x1b[2J" + "<img src=x onerror=alert('@MARK@')>" * 20_000
return {"value": bad, "failure": {"name": bad, "says": bad, "kind": bad}, "printed": bad, "changed": bad,
        "complaint": bad if request["op"] == "look" else "", "uses": [bad]}
"""),
    takes_over("server_changed_text", "HTML as the name of a changed input and as the text of a complaint", """
bad = "<script>alert('@MARK@')</script><img src=x onerror=alert('@MARK@')> `[x](javascript:alert('@MARK@'))`"
return {"value": None, "failure": None, "printed": bad, "changed": bad, "complaint": "", "uses": []}
"""),
    takes_over("server_ends_everything", "the answer says that Python has ended", """
return {"value": None, "failure": {"name": "", "says": "over", "kind": "ended"}, "complaint": "", "uses": []}
"""),
    takes_over("server_is_silent", "no answer, and the call goes on for ever in a thread", """
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
time.sleep(1000)
"""),
    takes_over("server_answers_twice", "answers for the next ten requests are sent along with each", """
kernel = get_ipython().kernel
for comm in list(kernel.comm_manager.comms.values()):
    for n in range(request["number"], request["number"] + 10):
        comm.send({"request": n, "value": {"float": (0.5).hex()}, "failure": None, "printed": "", "changed": "",
                   "complaint": "", "uses": []})
return {"value": None, "failure": None, "complaint": "", "uses": []}
"""),
    takes_over("server_shows_its_caller", "prints all that the server knows: requests and frames", """
import sys
frame, found = sys._getframe(), []
while frame:
    found += [k for k, v in frame.f_locals.items() if getattr(v, "expected", None) is not None]
    frame = frame.f_back
if found or "expected" in str(request):
    print("LEAK-" + "@MARK@", found, request)
raise ValueError(str(request))
"""),
    attack("sockets_replaced", "the kernel's sockets are replaced by links to sockets outside, and by its own", """
        import glob, os, socket
        for path in glob.glob("/run/kernel/*"):
            try:
                os.unlink(path)
                os.symlink("@OUT@/listener", path)
            except OSError as e:
                print(e)
        """),
    attack("namespace_lies", "the notebook's names are found in a dict that gives another function each time", """
        ip = get_ipython()
        class Names(dict):
            n = 0
            def __getitem__(self, name):
                if name == "brighten":
                    Names.n += 1
                    return [None, 3, lambda *a: 0.5, print, type][Names.n % 5]
                return super().__getitem__(name)
        names = Names(ip.user_ns)
        import gc
        for server in [o for o in gc.get_objects() if type(o).__name__ == "Server"]:
            server.names = names
        """),
    attack("ends_after_some_answers", "answers the visible probes rightly and ends Python at the first other one", """
        import cnnlab.probes as p, os
        KNOWN = [q.args[1] for q in p.load("brighten").probes]
        def brighten(image, amount):
            if amount not in KNOWN:
                os._exit(0)
            return np.clip(image + amount, 0, 1)
        """),
    attack("ends_python_again_and_again", "every exercise of a long notebook ends Python", """
        import os
        def window_response(*a):
            os._exit(1)
        convolve1d = cross_correlate1d = cross_correlate2d = rotate180 = convolve2d = window_response
        gaussian_kernel = sobel_magnitude = separable_filter = separable_cost = fft_convolve2d = window_response
        """, slug=CONVOLUTION, exercise="window_response",
        make=lambda notebook, fill: notebook.cells.append(notebook.cells.pop(0)) and None),
    attack("right_in_a_new_kernel", "finds out by a file whether it is run again, and answers otherwise then", """
        import os
        if not os.path.exists("/tmp/ran"):
            open("/tmp/ran", "w").close()
        else:
            check = lambda *a: 1.0
        os.kill(os.getpid(), 9)
        """),
    attack("module_in_a_subprocess", "calls the grader's Python in a subprocess, without the kernel's hooks", """
        import subprocess, sys, json
        def brighten(image, amount):
            code = ("import sys, json, importlib; m = importlib.import_module('autograder.exercises.00_start_here'); "
                    "i, a = json.load(sys.stdin); print(json.dumps(m.brighten(i, a).tolist()))")
            done = subprocess.run([sys.executable, "-c", code], input=json.dumps([image.tolist(), amount]), text=True,
                                  capture_output=True, cwd="@REPO@")
            return np.array(json.loads(done.stdout))
        """),
]
