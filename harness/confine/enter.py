"""The last trusted step before a worker: gives up what it may not have, then becomes the worker.

Runs as `python -I -S enter.py ORDERS COMMAND...`, where ORDERS is a JSON object (job.py writes it); imports nothing but
the standard library. Whatever cannot be given up ends the process with a message: a worker never runs with more than it
was to have.
"""

import base64
import contextlib
import ctypes
import json
import os
import resource
import struct
import sys

PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 24, 38, 2
CAPABILITY_VERSION_3, LAST_CAPABILITY = 0x20080522, 63
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
RIGHTS = {"read": EXECUTE | READ_FILE | READ_DIR, "list": READ_DIR, "use": WRITE_FILE | READ_FILE | IOCTL_DEV}
BY_VERSION = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # what each version of Landlock added

libc = ctypes.CDLL(None, use_errno=True)


def call(what: str, result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def landlock_version() -> int:
    """0 where the kernel has none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, 0, VERSION)))


def handled(version: int) -> int:
    """Every right to files that this version knows: what no rule allows is refused."""
    return sum(rights for since, rights in BY_VERSION.items() if since <= version)


def confine_files(rules: list[list[str]]) -> None:
    """Only what `rules`, pairs of a right ("read", "list", "use", "own") and a path, allow; no TCP, no signals out."""
    version = landlock_version()
    everything = handled(version)
    network = 3 if version >= 4 else 0  # bind and connect
    scopes = 3 if version >= 6 else 0  # abstract sockets and signals stay inside
    attributes = struct.pack("=QQQ", everything, network, scopes)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = call("landlock", libc.syscall(CREATE_RULESET, attributes, size, 0))
    for right, path in rules:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = everything if right == "own" else RIGHTS[right] & everything
        if not os.path.isdir(path):
            allowed &= OF_FILES
        beneath = struct.pack("=Qi", allowed, place)
        call(f"landlock {path}", libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, beneath, 0))
        os.close(place)
    call("landlock", libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def with_own_numbers(program: bytes) -> bytes:
    """The filter of seccomp.py (OWN_PROCESS, OWN_GROUP) with the numbers of this process, which leads its group."""
    own = {0x7FFFFFFF: os.getpid(), 0x80000001: -os.getpid() & 0xFFFFFFFF}
    code = (struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8))
    return b"".join(struct.pack("=HBBI", *instruction, own.get(value, value)) for *instruction, value in code)


def confine_calls(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    call("seccomp", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0))


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def without_capabilities(uid: int | None) -> None:
    """No power but that of owning files, none now and none from any program; also a root that stays root has none."""
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # the kernel knows no more of them, or this is no root
    if uid is not None:
        become(uid)
    header, nothing = struct.pack("=Ii", CAPABILITY_VERSION_3, 0), struct.pack("=6I", 0, 0, 0, 0, 0, 0)
    call("capset", libc.capset(header, nothing))


def first_to_go() -> None:
    """Where memory runs out the kernel ends a worker, not its judge. Later the file is another user's."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # not every /proc can be written
        file.write("1000")


def main() -> None:
    orders = json.loads(sys.argv[1])
    first_to_go()
    without_capabilities(orders["uid"])
    for name, limit in orders["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    call("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if orders["rules"] is not None:
        confine_files([[right, path.replace("/proc/self", f"/proc/{os.getpid()}")] for right, path in orders["rules"]])
    if orders["filter"] is not None:
        confine_calls(with_own_numbers(base64.b64decode(orders["filter"])))
    command = sys.argv[2:]
    os.execve(command[0], command, os.environ)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"the sandbox could not be entered: {type(error).__name__}: {error}")
