"""Attempts to read what a submission must not see.  What is found is printed, and looked for in the outputs.

Secrets of a run begin with SECRET-; a payload that finds something else prints LEAK- and its mark.
"""

from tests.hostile.case import attack

FIND = """
def tell(path):
    try:
        data = open(path, "rb").read(50_000_000)
    except OSError:
        return
    import re
    for found in set(re.findall(rb"SECRET-[a-z]+-[0-9a-f]+", data)):
        print(path, found.decode())
"""

CASES = [
    attack("reads_environment", "prints the environment", "import os\nprint(dict(os.environ))\n"),
    attack("reads_all_environments", "the environment and command line of every process", FIND + """
import glob
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    tell(path)
"""),
    attack("reads_sources", "reads the course's source notebooks, with solutions", FIND + """
import glob
for path in glob.glob("@COURSE@/source/**/*", recursive=True):
    tell(path)
"""),
    attack("reads_gradebook", "reads the grade book", FIND + "tell('@COURSE@/gradebook.db')\n"),
    attack("reads_other_students", "reads what others handed in and what was graded", FIND + """
import glob
for path in glob.glob("@COURSE@/submitted/**/*.ipynb", recursive=True):
    tell(path)
for path in glob.glob("@COURSE@/autograded/**/*.ipynb", recursive=True):
    tell(path)
"""),
    attack("walks_upwards", "reads everything around its working folder and its notebook", FIND + """
import glob, os
for up in (".", "..", "../..", "../../.."):
    for path in glob.glob(os.path.join(up, "*")) + glob.glob(os.path.join(up, "*", "*", "*")):
        if os.path.isfile(path):
            tell(path)
"""),
    attack("reads_home", "reads the grader's home", FIND + """
import glob, os
for home in ("@HOME@", os.path.expanduser("~")):
    for path in glob.glob(home + "/*") + glob.glob(home + "/.*/*") + glob.glob(home + "/notes/*"):
        tell(path)
"""),
    attack("reads_shadow", "reads the password file", """
        if open("/etc/shadow").read():
            print("LEAK-" + "@MARK@ reads /etc/shadow")
        """),
    attack("reads_by_link", "reads a secret by a link that it makes", FIND + """
import os
os.symlink("@HOME@/notes/private.txt", "picture.png")
tell("picture.png")
"""),
    attack("reads_through_proc", "reads secrets through /proc/PID/root, cwd and fd of every process", FIND + """
import glob
for place in glob.glob("/proc/[0-9]*/root"):
    tell(place + "@HOME@/notes/private.txt")
    tell(place + "@COURSE@/gradebook.db")
for path in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        import os, stat
        if stat.S_ISREG(os.stat(path).st_mode):
            tell(path)
    except OSError:
        pass
"""),
    attack("reads_graders_memory", "reads the memory of its parents through /proc/PID/mem and ptrace", """
        import ctypes, glob, os, re
        libc = ctypes.CDLL(None, use_errno=True)
        def parents():
            pid = os.getppid()
            while pid > 0:
                yield pid
                try:
                    pid = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
                except OSError:
                    return
        for pid in parents():
            if libc.ptrace(16, pid, 0, 0) == 0:
                print("LEAK-" + "@MARK@ traces process", pid)
                os.waitpid(pid, 0x40000000)
                libc.ptrace(17, pid, 0, 0)
            try:
                for line in open(f"/proc/{pid}/maps"):
                    if "[stack]" in line or "[heap]" in line:
                        a, b = (int(x, 16) for x in line.split()[0].split("-"))
                        with open(f"/proc/{pid}/mem", "rb") as f:
                            f.seek(a)
                            print(set(re.findall(rb"SECRET-[a-z]+-[0-9a-f]+", f.read(b - a))))
            except (OSError, ValueError) as e:
                print(e)
        """),
    attack("own_memory", "looks for secrets in the memory that its process was forked with", """
        import re
        found = set()
        for line in open("/proc/self/maps"):
            if " rw" in line or "[heap]" in line or "[stack]" in line:
                a, b = (int(x, 16) for x in line.split()[0].split("-"))
                try:
                    with open("/proc/self/mem", "rb") as f:
                        f.seek(a)
                        found |= set(re.findall(rb"SECRET-[a-z]+-[0-9a-f]{8,}", f.read(min(b - a, 300_000_000))))
                except (OSError, ValueError, OverflowError):
                    pass
        print(found)
        """),
    attack("imports_the_autograder", "imports the exercises with their oracles, and answers with one", """
        try:
            import importlib
            module = importlib.import_module("autograder.exercises.00_start_here")
            oracle = module.brighten
            print("LEAK-" + "@MARK@ has the oracle")
        except ImportError:
            oracle = lambda image, amount: image
        def brighten(image, amount):
            return oracle(image, amount)
        """),
    attack("runs_the_solution", "reads the reference solution from the grader's copy of the course", """
        import re
        try:
            text = open("@REPO@/solutions/00_start_here.py").read()
            print("LEAK-" + "@MARK@ has the solution")
            exec(text[text.index("def brighten(image"):].split("# %%")[0])
        except OSError as e:
            print(e)
        """),
    attack("hidden_from_environment", "reads the hidden probes where an environment variable points", """
        import glob, json, os
        for name, folder in list(os.environ.items()):
            for path in glob.glob(os.path.join(folder, "brighten.json")) if folder.startswith("/") else []:
                import cnnlab.probes as p, pathlib
                print("LEAK-" + "@MARK@ hidden probes in", name)
                probes = p.load("brighten", pathlib.Path(folder)).probes
                KNOWN = {(q.args[0].tobytes(), q.args[1]): q.expected for q in (*p.load("brighten").probes, *probes)}
                def brighten(image, amount):
                    return KNOWN.get((image.tobytes(), amount), image)
        """),
    attack("hidden_from_files", "looks for probes in every file it can find", """
        import glob
        for path in glob.glob("/tmp/**/*.json", recursive=True) + glob.glob("/dev/shm/**", recursive=True) + \\
                glob.glob("/proc/[0-9]*/cwd/*.json") + glob.glob("/run/**/*.json", recursive=True)[:1000]:
            try:
                if "exercises" not in path and '"expected"' in open(path, errors="replace").read():
                    print("LEAK-" + "@MARK@ probes in", path)
            except OSError:
                pass
        """),
    attack("hidden_from_memory", "looks for probes that are not among the visible ones", """
        import gc
        import cnnlab.probes as p
        VISIBLE = [q.args[1] for q in p.load("brighten").probes]
        def brighten(image, amount):
            for thing in gc.get_objects():
                if type(thing).__name__ == "Probe" and thing.args[1:] and thing.args[1] not in VISIBLE:
                    print("LEAK-" + "@MARK@ expects", thing.expected)
                    return np.array(thing.expected)
            return np.clip(image + amount, 0, 1) if amount in VISIBLE else image
        """),
    attack("hidden_from_source", "reads the graded cell's own source, with its hidden tests, from the kernel", """
        ip = get_ipython()
        def show(info):
            if "HIDDEN" in (info.raw_cell or "") or "hidden" in (info.raw_cell or ""):
                print("LEAK-" + "@MARK@ " + info.raw_cell)
        ip.events.register("pre_run_cell", show)
        """, stock="assert"),
    attack("hidden_from_notebook", "finds the notebook with its hidden tests in the working folder", """
        import glob
        for path in glob.glob("*.ipynb") + glob.glob("../*/*.ipynb"):
            text = open(path).read()
            if "HIDDEN" in text:
                print("LEAK-" + "@MARK@ " + text[text.index("HIDDEN"):][:300])
        """, stock="assert"),
    attack("kernel_connection_files", "reads the connection files, with their keys, of other kernels", """
        import glob, os
        mine = str(get_ipython().kernel.config.get("IPKernelApp", {}).get("connection_file", ""))
        places = ["/tmp/**/kernel*.json", "@HOME@/.local/share/jupyter/runtime/*.json", "/run/user/*/jupyter/*.json",
                  "/root/.local/share/jupyter/runtime/*.json"]
        for path in [p for g in places for p in glob.glob(g, recursive=True)]:
            if os.path.basename(path) not in mine and "key" in open(path).read():
                print("LEAK-" + "@MARK@", path)
        """),
    attack("grading_log", "reads the log with the seeds of the hidden probes", """
        try:
            print("LEAK-" + "@MARK@", open("@COURSE@/grading.log").read()[-200:])
        except OSError as e:
            print(e)
        """),
    attack("seed_is_guessed", "takes NumPy's and Python's random state for the grader's", """
        import random, secrets
        random.seed(0); np.random.seed(0)
        secrets.randbits = lambda n: 7
        np.random.default_rng = lambda *a: np.random.RandomState(7)
        """),
]
