"""Tried inside a sandbox before it is trusted: prints `closed`, or the first door that stands open."""

import os
import socket
import sys
from collections.abc import Callable

AF_ALG, AF_VSOCK = 38, 40  # sockets that no network namespace holds


def opens(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except (OSError, PermissionError):
        return
    sys.exit(f"it could {what}")


def connect() -> None:
    with socket.socket() as one:
        one.settimeout(2)
        one.connect(("127.0.0.1", 22))


def reach_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 53))  # sends nothing, but needs a way there


def see_more_in_parent() -> None:
    """An ordinary user's bubblewrap runs the first process of the namespace as the worker's own user: it has the same
    empty environment, and nothing is won by it."""
    with open(f"/proc/{os.getppid()}/environ") as file:
        theirs = set(file.read().split("\0"))
    if theirs <= {"", *(f"{name}={value}" for name, value in os.environ.items())}:
        raise PermissionError("it is this one's")


def be_freer_as_parent() -> None:
    """Whoever can write into a process can become it: it may hold no power, and no call, that a worker has not."""
    os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR))
    if powers(os.getppid()) == powers(os.getpid()):
        raise PermissionError("it is held as this one is")


def powers(process: int) -> list[str]:
    with open(f"/proc/{process}/status") as file:
        return [line for line in file if line.startswith(("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"))]


def main() -> None:
    beside = os.path.join(os.path.dirname(__file__), "left")
    opens("write beside itself", lambda: os.open(beside, os.O_CREAT | os.O_WRONLY))
    opens("read /etc/passwd", lambda: os.open("/etc/passwd", os.O_RDONLY))
    opens("list /var", lambda: os.listdir("/var"))
    opens("see its parent's environment", see_more_in_parent)
    opens("do more by way of its parent", be_freer_as_parent)
    opens("connect", connect)
    opens("send a datagram", reach_out)
    opens("talk to the host of a virtual machine", lambda: socket.socket(AF_VSOCK, socket.SOCK_STREAM))
    opens("talk to the kernel's ciphers", lambda: socket.socket(AF_ALG, socket.SOCK_SEQPACKET))
    judge = int(sys.argv[1])
    if judge > 1:  # 1 is the first process of a namespace of its own
        opens("signal the judge", lambda: os.kill(judge, 0))
    opens("change the owner of files", lambda: os.chown(os.environ["HOME"], 1, 1))
    with open(os.path.join(os.environ["HOME"], "own"), "w") as file:
        file.write("x")
    print("closed")


main()
