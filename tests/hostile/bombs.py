"""Attacks and accidents that use up memory, processes, files or output.  All are bounded: they stop by themselves."""

from tests.hostile.case import attack

CASES = [
    attack("memory_list", "allocates and touches memory, up to 8 GB, in a cell", """
        kept = []
        try:
            for _ in range(80):
                kept.append(b"x" * 100_000_000)
        finally:
            kept.clear()
        """),
    attack("memory_in_function", "allocates 8 GB in the function, each time", """
        def brighten(image, amount):
            return np.ones(10**9)[:4].reshape(2, 2)
        """),
    attack("memory_mmap", "8 GB of anonymous shared memory by mmap", """
        import mmap
        m = mmap.mmap(-1, 8 * 10**9)
        for i in range(0, len(m), 4096):
            m[i] = 1
        m.close()
        """),
    attack("memory_memfd", "4 GB in a memfd, outside the accounting of the address space", """
        import os
        fd = os.memfd_create("@MARK@")
        for _ in range(400):
            os.write(fd, b"x" * 10_000_000)
        os.close(fd)
        """),
    attack("memory_sysv", "4 GB in System V shared memory that outlives its process", """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        for _ in range(4):
            i = libc.shmget(0, ctypes.c_size_t(10**9), 0o1600)
            if i < 0: break
            at = libc.shmat(i, None, 0)
            ctypes.memset(at, 1, 10**9)
            libc.shmctl(i, 0, None)
            libc.shmdt(ctypes.c_void_p(at))
        """),
    attack("memory_in_children", "ten children that take 800 MB each, under any limit for one process", """
        import os, time
        children = []
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                try:
                    b = bytearray(b"x") * 800_000_000
                    time.sleep(20)
                finally:
                    os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        """),
    *(attack(f"fills_{name}", f"writes up to 2 GB to {place}", f"""
        import os
        folder = os.path.expanduser("{place}")
        with open(os.path.join(folder, "@MARK@"), "wb") as f:
            for _ in range(200):
                f.write(b"x" * 10_000_000)
        """) for name, place in [("tmp", "/tmp"), ("home", "~"), ("shm", "/dev/shm"), ("working_folder", ".")]),
    attack("many_files", "two hundred thousand files, to use up inodes", """
        import os
        os.makedirs("/tmp/@MARK@", exist_ok=True)
        for i in range(200_000):
            open(f"/tmp/@MARK@/{i}", "w").close()
        """),
    attack("fork_bomb", "makes processes that make processes, at most 300", """
        import ctypes, os, time
        made = 0
        try:
            for _ in range(300):
                made += 1
                if os.fork() == 0:
                    ctypes.CDLL(None).prctl(15, b"@MARK@", 0, 0, 0)
                    os.setsid()
                    time.sleep(100)
                    os._exit(0)
        except OSError as e:
            print("stopped at", made, e)
        """),
    attack("thread_bomb", "two thousand threads", """
        import threading, time
        for _ in range(2000):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        """),
    attack("descriptors", "opens files until no descriptor is left, and keeps them", """
        kept = []
        try:
            while len(kept) < 200_000:
                kept.append(open("/dev/null"))
        except OSError:
            pass
        """),
    attack("prints_for_ever", "print in an endless loop, 1 GB at most", """
        for _ in range(10_000_000):
            print("x" * 100)
        """),
    attack("prints_in_function", "the function prints in an endless loop, 1 GB at most", """
        def brighten(image, amount):
            for _ in range(10_000_000):
                print("x" * 100)
            return image
        """),
    attack("one_long_line", "one line of 300 MB", "print('x' * 300_000_000)\n"),
    attack("raw_writes", "os.write to stdout and stderr, 400 MB", """
        import os
        for _ in range(4000):
            os.write(1, b"x" * 100_000)
            os.write(2, b"y" * 10_000)
        """),
    attack("stderr_of_children", "a child writes 400 MB to stderr", """
        import subprocess
        subprocess.run("head -c 400000000 /dev/zero >&2", shell=True)
        """),
    attack("displays_for_ever", "fifty thousand displays of HTML, 10 kB each", """
        from IPython.display import HTML, display
        for _ in range(50_000):
            display(HTML("<p>" + "x" * 10_000 + "</p>"))
        """),
    attack("huge_figure", "a displayed picture of 200 MB", """
        from IPython.display import display
        display({"image/png": "A" * 200_000_000}, raw=True)
        """),
    attack("deep_display", "a display bundle nested fifty thousand times", """
        deep = []
        for _ in range(50_000):
            deep = [deep]
        from IPython import get_ipython
        get_ipython().display_pub.publish({"application/json": deep})
        """),
    attack("comm_flood", "fifty thousand comm messages of 10 kB", """
        kernel = get_ipython().kernel
        for i in range(50_000):
            kernel.session.send(kernel.iopub_socket, "comm_open", {
                "comm_id": str(i), "target_name": "jupyter.widget", "data": {"state": "x" * 10_000}})
        """),
    attack("logging_flood", "logging, warnings and tracebacks without an end, 200 MB", """
        import logging
        logging.basicConfig(level=0)
        for _ in range(100_000):
            logging.error("x" * 2000)
        """),
    attack("terminal_escapes", "escape sequences for the grader's terminal, title and clipboard", """
        print("\\x1b]0;@MARK@\\x07\\x1b]52;c;QUFBQQ==\\x07\\x1b[2J\\x1b[999D\\x1b[8m\\x1bc" * 100)
        def brighten(image, amount):
            raise ValueError("\\x1b[2J\\x1b]0;@MARK@\\x07")
        """),
    attack("wide_recursion_of_errors", "a chain of two thousand exceptions, each with a long text", """
        def brighten(image, amount):
            error = None
            for i in range(2000):
                try:
                    raise ValueError("x" * 10_000) from error
                except ValueError as e:
                    error = e
            raise error
        """),
]
