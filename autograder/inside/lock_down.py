"""Give up, for good, everything a student's kernel does not need.  Linux only.

Bubblewrap makes the room (autograder.sandbox.room); this closes what namespaces leave open: privileges,
system calls, and limits.  Each step raises if it fails: a kernel that is not locked down never starts.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
from dataclasses import asdict, dataclass

MB = 2**20

# Named as in libseccomp.  Debugging, kernel keys and modules, namespaces and mounts; and memory that the
# limits below do not see.
DENIED = """
    ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise perf_event_open
    keyctl add_key request_key bpf userfaultfd io_uring_setup io_uring_enter io_uring_register
    memfd_create memfd_secret shmget shmat shmctl msgget semget
    mount umount2 pivot_root chroot unshare setns open_tree move_mount fsopen fsconfig fsmount fspick
    mount_setattr name_to_handle_at open_by_handle_at quotactl acct swapon swapoff reboot sethostname
    setdomainname init_module finit_module delete_module kexec_load kexec_file_load syslog personality
    iopl ioperm modify_ldt settimeofday clock_settime adjtimex clock_adjtime fanotify_init
    set_mempolicy mbind migrate_pages move_pages sched_setattr
""".split()
NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
FAMILIES = (1, 2, 10, 16)  # unix, IPv4, IPv6, and netlink, by which zmq asks for the interfaces: loopback only

PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 24, 38, 47


@dataclass(frozen=True)
class Limits:
    """What one room may use.  Bytes, seconds, counts."""

    memory: int = 3072 * MB  # of all processes together; the watcher outside sees to it
    processes: int = 64  # threads included
    file_size: int = 128 * MB
    disk: int = 256 * MB  # each of the folders that can be written
    cpu: int = 300  # seconds, per process
    files: int = 256

    def to_json(self) -> dict:
        return asdict(self)


def lock_down(limits: Limits, user: int | None) -> None:
    """Drop privileges, set limits, install the filter.  Raises OSError if a step fails.

    user: the id to become, or None to stay; needed for root, whom limits do not hold.
    """
    import pyseccomp  # it looks for its library by running a program, which soon cannot be done

    libc = ctypes.CDLL(None, use_errno=True)
    _bound(limits)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() not in (errno.EINVAL, errno.EPERM):
            _fail("PR_CAPBSET_DROP")
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        _fail("capset")
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        _fail("PR_SET_NO_NEW_PRIVS")
    # Changing the user makes a process undumpable, and so its own /proc/self unreadable to itself.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    _filter(pyseccomp)
    _verify()


def _bound(limits):
    for what, limit in [
            (resource.RLIMIT_DATA, limits.memory), (resource.RLIMIT_AS, 4 * limits.memory + 8192 * MB),
            (resource.RLIMIT_NPROC, limits.processes), (resource.RLIMIT_FSIZE, limits.file_size),
            (resource.RLIMIT_CPU, limits.cpu), (resource.RLIMIT_NOFILE, limits.files),
            (resource.RLIMIT_CORE, 0), (resource.RLIMIT_MEMLOCK, MB), (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_STACK, 16 * MB)]:
        resource.setrlimit(what, (limit, limit))


def _filter(seccomp):
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in DENIED:
        try:
            rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
        except ValueError:  # this machine has no such call
            continue
    # Memory that is shared and has no name is counted nowhere once its pages were given back.
    shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
    rules.add_rule(seccomp.ERRNO(errno.ENOMEM), "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, shared, shared))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory, out of the filter's sight
    for flag in NEW_NAMESPACES:
        rules.add_rule(seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    top = max(FAMILIES)
    for family in set(range(top)) - set(FAMILIES):
        rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.EQ, family))
    rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.GT, top))
    rules.load()


def _verify():
    """Believe what the kernel says, not what was asked of it."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    sets = [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
    if any(int(s, 16) for s in sets) or status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        raise OSError("the room is not closed: " + ", ".join(
            f"{name} {status[name]}" for name in ("CapPrm", "CapEff", "NoNewPrivs", "Seccomp")))
    if os.getuid() == 0 and "0" in {line.split()[1] for line in open("/proc/self/uid_map")}:
        raise OSError("the room is not closed: the kernel still runs as root")


def _fail(step):
    code = ctypes.get_errno()
    raise OSError(code, f"{step}: {os.strerror(code)}")
