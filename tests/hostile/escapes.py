"""Attempts to reach what lies outside of the room: the network, files, other processes, the kernel."""

from tests.hostile.case import CONVOLUTION, attack

LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

CASES = [
    attack("network_tcp", "connects to a port of the grader's machine", """
        import socket
        s = socket.create_connection(("127.0.0.1", @PORT@), 3)
        s.sendall(b"@MARK@\\n")
        """),
    attack("network_in_function", "connects when the function is called", """
        import socket
        def brighten(image, amount):
            s = socket.create_connection(("127.0.0.1", @PORT@), 3)
            s.sendall(b"@MARK@\\n")
            return image
        """),
    attack("network_udp", "sends what it knows over UDP to the machine, and asks a name server", """
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(b"@MARK@\\n", ("127.0.0.1", @PORT@))
        socket.setdefaulttimeout(3)
        socket.getaddrinfo("example.org", 80)
        """),
    attack("abstract_socket", "connects to an abstract Unix socket, which no file system hides", """
        import socket
        s = socket.socket(socket.AF_UNIX)
        s.connect("\\0@SOCKET@")
        s.sendall(b"@MARK@\\n")
        """),
    attack("unix_sockets", "looks for sockets of other kernels and of the system, and talks to them", """
        import glob, os, socket, stat
        for path in glob.glob("/tmp/**", recursive=True) + glob.glob("/run/**", recursive=True)[:5000] + [
                "@OUT@/listener"]:
            try:
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    s = socket.socket(socket.AF_UNIX); s.settimeout(1); s.connect(path); s.sendall(b"@MARK@\\n")
            except OSError:
                pass
        """),
    attack("deletes_the_course", "deletes files in the course folder", """
        import os
        os.unlink("@COURSE@/notes/@MARK@.txt")
        """),
    attack("overwrites_the_course", "writes into the course: a config file, sources, another student's work", """
        for path in ("@COURSE@/notes/@MARK@.txt", "@COURSE@/source/@MARK@", "@COURSE@/submitted/@MARK@",
                     "@COURSE@/autograded/@MARK@"):
            try:
                open(path, "w").write("c.overwritten = True")
            except OSError as e:
                print(e)
        """),
    attack("writes_home", "writes a start-up file into the grader's home", """
        import os
        for home in ("@HOME@", os.path.expanduser("~")):
            folder = os.path.join(home, ".ipython", "profile_default", "startup")
            os.makedirs(folder, exist_ok=True)
            open(os.path.join(folder, "00-@MARK@.py"), "w").write("print('@MARK@ was here')")
        """),
    attack("writes_tmp", "leaves a file in every writable folder for the next student", """
        import os, tempfile
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "@OUT@", tempfile.gettempdir(), "..", "."):
            try:
                open(os.path.join(folder, "@MARK@"), "w").write("print('here')")
            except OSError as e:
                print(e)
        """),
    attack("writes_cnnlab", "changes cnnlab's files, for everyone who is graded later", """
        import cnnlab, pathlib
        folder = pathlib.Path(cnnlab.__file__).parent
        (folder / "@MARK@.py").write_text("")
        """),
    attack("writes_site_packages", "leaves a .pth file among the installed packages", """
        import site, os
        open(os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "@MARK@.pth"), "w").write("")
        """),
    attack("writes_bytecode", "puts bytecode of its own into __pycache__ of cnnlab", """
        import cnnlab, os
        folder = os.path.join(os.path.dirname(cnnlab.__file__), "__pycache__")
        open(os.path.join(folder, "@MARK@.pyc"), "wb").write(b"")
        """),
    attack("symlink_in_working_folder", "puts links in place of the working folder's files", """
        import os
        os.symlink("@COURSE@/notes/@MARK@.txt", "link")
        open("link", "w").write("overwritten")
        """),
    attack("proc_root", "goes through /proc/PID/root and /proc/PID/cwd of every process", """
        import glob
        for place in glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/cwd"):
            for name in ("/tmp/@MARK@", "@OUT@/@MARK@", "/@MARK@"):
                try:
                    open(place + name, "w").write("here")
                except OSError:
                    pass
        """),
    attack("inherited_descriptors", "writes to folders and files left open by the grader", """
        import os
        for fd in range(3, 256):
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
                if os.path.isdir(f"/proc/self/fd/{fd}"):
                    os.close(os.open("@MARK@", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
                elif target.startswith("@COURSE@"):
                    os.write(fd, b"@MARK@")
            except OSError:
                pass
        """),
    attack("user_namespace_mounts", "makes a user namespace, and mounts a file system in it", LIBC + """
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 or libc.unshare(CLONE_NEWNS) == 0:
    if libc.mount(b"none", b"/mnt", b"tmpfs", 0, b"size=4g") == 0:
        print("LEAK-" + "@MARK@ mounted a tmpfs")
"""),
    attack("remounts", "makes read-only mounts writable", LIBC + """
for place in (b"/", b"/usr", b"/dev", b"@OUT@", b"@REPO@"):
    if libc.mount(b"none", place, None, 32 | 4096, None) == 0:
        print("remounted", place)
try:
    open("@REPO@/cnnlab/@MARK@", "w").write("x")
except OSError as e:
    print(e)
"""),
    attack("chroot_and_devices", "makes device nodes, changes root and reads disks", LIBC + """
try:
    os.mknod("/tmp/@MARK@", 0o60666, os.makedev(8, 0))
    print("LEAK-" + "@MARK@ made a device")
except OSError as e:
    print(e)
for disk in ("/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/proc/kcore"):
    try:
        open(disk, "rb").read(1)
        print("LEAK-" + "@MARK@ reads", disk)
    except OSError:
        pass
"""),
    attack("sets_kernel_parameters", "writes to /proc/sys and /sys", """
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
                     "/sys/kernel/mm/transparent_hugepage/defrag"):
            try:
                with open(path, "r+") as f:
                    old = f.read() if "sys/kernel" in path else "1"
                    f.seek(0)
                print("LEAK-" + "@MARK@ may write", path)
            except OSError:
                pass
        """),
    attack("rare_system_calls", "ptrace, keyctl, bpf, io_uring, userfaultfd and perf through syscall()", LIBC + """
calls = {"io_uring_setup": (425, 8, ctypes.create_string_buffer(120)), "bpf": (321, 0, 0, 0),
         "userfaultfd": (323, 0), "keyctl": (250, 0, -3, 1), "add_key": (248, b"user", b"@MARK@", b"x", 1, -4)}
for name, arguments in calls.items():
    answer = libc.syscall(*arguments)
    print(name, answer, os.strerror(ctypes.get_errno()))
    if answer >= 0:
        print("LEAK-" + "@MARK@", name, "is open")
"""),
    attack("setuid_program", "leaves a set-user-id copy of a shell", """
        import os, shutil
        for folder in ("@OUT@", "/tmp", "/var/tmp"):
            shutil.copy("/bin/sh", folder + "/@MARK@")
            os.chmod(folder + "/@MARK@", 0o4755)
        """),
    attack("sudo_and_friends", "runs sudo, su, docker, bwrap and systemd-run", """
        import subprocess
        for command in ("sudo -n", "docker run -v /:/host alpine", "bwrap --dev-bind / /", "systemd-run --user --wait",
                        "at now <<<", "nsenter -t 1 -a", "unshare -Ur"):
            subprocess.run(command + " touch @OUT@/@MARK@ /tmp/@MARK@", shell=True, timeout=5,
                           stdin=subprocess.DEVNULL)
        """),
    attack("nice_and_priority", "takes the highest priority and saves itself from the out-of-memory killer", """
        import os
        try:
            os.nice(-20)
            print("LEAK-" + "@MARK@ has a higher priority")
        except OSError as e:
            print(e)
        before = int(open("/proc/self/oom_score_adj").read())
        try:
            with open("/proc/self/oom_score_adj", "w") as f:
                f.write("-1000")
        except OSError as e:
            print(e)
        if int(open("/proc/self/oom_score_adj").read()) < before:
            print("LEAK-" + "@MARK@ is safe from the out-of-memory killer")
        """),
    attack("jupyter_client_attack", "starts a kernel of its own with jupyter_client, to work in there", """
        from jupyter_client.manager import start_new_kernel
        m, c = start_new_kernel(kernel_name="python3", startup_timeout=8)
        c.execute("open('@OUT@/@MARK@', 'w').write('x')")
        """, slug=CONVOLUTION, exercise="window_response"),
]
