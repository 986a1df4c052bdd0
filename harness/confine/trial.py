"""Tried inside a sandbox before it is trusted: prints `closed`, or the first door that stands open."""

import mmap
import os
import socket
import sys
from collections.abc import Callable

AF_ALG, AF_VSOCK = 38, 40  # sockets that no network namespace holds
MADV_PAGEOUT = 21


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


def drive_out() -> None:
    with open(__file__, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        content.madvise(MADV_PAGEOUT)


def main() -> None:
    beside = os.path.join(os.path.dirname(__file__), "left")
    opens("write beside itself", lambda: os.open(beside, os.O_CREAT | os.O_WRONLY))
    opens("read /etc/passwd", lambda: os.open("/etc/passwd", os.O_RDONLY))
    opens("list /var", lambda: os.listdir("/var"))
    opens("see its parent's environment", lambda: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY))
    opens("write into its parent", lambda: os.open(f"/proc/{os.getppid()}/task/{os.getppid()}/mem", os.O_RDWR))
    opens("connect", connect)
    opens("send a datagram", reach_out)
    opens("talk to the host of a virtual machine", lambda: socket.socket(AF_VSOCK, socket.SOCK_STREAM))
    opens("talk to the kernel's ciphers", lambda: socket.socket(AF_ALG, socket.SOCK_SEQPACKET))
    judge = int(sys.argv[1])
    if judge > 1:  # 1 is the first process of a namespace of its own
        opens("signal the judge", lambda: os.kill(judge, 0))
    opens("change the owner of files", lambda: os.chown(os.environ["HOME"], 1, 1))
    opens("mark a file by its mode", lambda: os.chmod(__file__, 0o444))
    opens("mark a file by its times", lambda: os.utime(__file__))
    opens("mark a file by an attribute", lambda: os.setxattr(__file__, "user.mark", b"x"))
    opens("drive a file out of memory", drive_out)
    with open(os.path.join(os.environ["HOME"], "own"), "w") as file:
        file.write("x")
    print("closed")


main()
