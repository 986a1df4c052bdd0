"""A seccomp filter as the kernel takes it: which system calls a worker is refused (EPERM; clone3: ENOSYS).

A deny-list, because torch and CUDA need hundreds of calls. What is on it reaches other processes, the kernel itself,
mounts and namespaces, or goes around the filter (io_uring). The filter is classic BPF: load a word of struct
seccomp_data, compare, jump (seccomp(2)).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000  # + errno
EPERM, ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # the bit of the 32-bit numbering on x86-64
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW*: mount, cgroup, uts, ipc, user, pid, net
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (number on x86-64, number on arm64); None where the architecture has none
CALLS: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "personality": (135, 92),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "vhangup": (153, 58),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    # memory, messages and locks that outlive the process that made them, and can be found by the next stage
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # which pages of a file are in memory: one stage could write there what another reads
    "fadvise64": (221, 223),
    "readahead": (187, 213),
    "mincore": (27, 232),
    "cachestat": (451, 451),
    "preadv2": (327, 286),
    # on other processes of the same user: the judge, or the first process of the namespace
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "pidfd_send_signal": (424, 424),
}
# where files are not mounted read-only: what their owner may write beside their content, and the next stage may read
METADATA: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "inotify_add_watch": (254, 27),  # and to be told of folders that may not be read
}
OTHERS_BY_NUMBER: tuple[tuple[int, int], ...] = ((203, 122), (302, 261))  # sched_setaffinity, prlimit64; 0 is oneself
# signals to a process, by its number as the first argument
SIGNALS: tuple[tuple[int, int], ...] = (
    (62, 129),  # kill
    (200, 130),  # tkill
    (234, 131),  # tgkill
    (129, 138),  # rt_sigqueueinfo
    (297, 240),  # rt_tgsigqueueinfo
)
# no process has these numbers; enter.py puts its own number, and that of its group, in their place
OWN_PROCESS, OWN_GROUP = 0x7FFF_FFFF, 0x8000_0001
FCNTL: tuple[int, int] = (72, 25)
OWNERS = (8, 15)  # F_SETOWN, F_SETOWN_EX: whom the kernel signals about a descriptor
IOCTL_OWNERS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
SOCKET: tuple[int, int] = (41, 198)
FAMILIES = (1, 2, 10, 16)  # of sockets, that a network namespace holds: local, IPv4, IPv6, netlink
LEAVING: tuple[tuple[int, int], ...] = ((112, 157), (109, 154))  # setsid, setpgid: out of the group that is killed
CLONE: tuple[int, int] = (56, 220)
CLONE3: tuple[int, int] = (435, 435)
IOCTL: tuple[int, int] = (16, 29)
IOCTL_METADATA = (0x40086602, 0x40087602, 0x401C5820)  # FS_IOC_SETFLAGS, FS_IOC_SETVERSION, FS_IOC_FSSETXATTR
MADVISE: tuple[int, int] = (28, 233)
OUT_OF_MEMORY = (20, 21)  # MADV_COLD, MADV_PAGEOUT: a file's owner decides which of its pages are in memory


def program(machine: str | None = None, *, namespaces: bool = True, signals: bool = True) -> bytes:
    """The filter for this (or that) machine.

    `namespaces` says that the worker has its own, which hold sockets of FAMILIES and no others (to the host of a
    virtual machine, into the kernel's ciphers), and read-only mounts; without them the filter also keeps it from all
    sockets, from leaving its process group and from marking files. Without `signals` it can signal nobody
    but itself and its own group, for where neither a namespace nor a user of its own keeps it from the judge. Raises
    ValueError for an architecture whose numbers are not known here.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        raise ValueError(f"no system call numbers for {machine}")
    place = list(ARCHITECTURES).index(machine)
    code = [_load(_ARCHITECTURE), *_unless(ARCHITECTURES[machine], KILL), _load(_NUMBER)]
    if machine == "x86_64":
        code += [_jump(_AT_LEAST, _X32, 0, 1), _give(REFUSE + EPERM)]
    for numbers in (*CALLS.values(), *(() if namespaces else (SOCKET, *LEAVING, *METADATA.values()))):
        if (number := numbers[place]) is not None:
            code += _when(number, REFUSE + EPERM)
    if namespaces:
        held = [_jump(_EQUAL, family, len(FAMILIES) - i, 0) for i, family in enumerate(FAMILIES)]
        code += _when_argument(SOCKET[place], 0, held)
    for call in OTHERS_BY_NUMBER:
        code += _when_argument(call[place], 0, [_jump(_EQUAL, 0, 1, 0)])
    code += [] if signals else _to_itself_alone(place)
    code += _when(CLONE3[place], REFUSE + ENOSYS)  # its flags are behind a pointer; libc then takes clone
    code += _when_argument(CLONE[place], 0, [_jump(_ANY_BIT, _NEW_NAMESPACES, 0, 1)])
    for advice in OUT_OF_MEMORY:
        code += _when_argument(MADVISE[place], 2, [_jump(_EQUAL, advice, 0, 1)])
    for request in (TIOCSTI, TIOCLINUX, *(() if namespaces else IOCTL_METADATA)):
        code += _when_argument(IOCTL[place], 1, [_jump(_EQUAL, request, 0, 1)])
    return b"".join([*code, _give(ALLOW)])


def _to_itself_alone(place: int) -> Iterable[bytes]:
    for call in SIGNALS:
        itself = [_jump(_EQUAL, one, to_end, 0) for one, to_end in ((OWN_PROCESS, 3), (OWN_GROUP, 2), (0, 1))]
        yield from _when_argument(call[place], 0, itself)
    for call, requests in ((FCNTL, OWNERS), (IOCTL, IOCTL_OWNERS)):
        for request in requests:
            yield from _when_argument(call[place], 1, [_jump(_EQUAL, request, 0, 1)])


def _instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, 0, 0, offset)


def _jump(test: int, value: int, yes: int, no: int) -> bytes:
    return _instruction(test, yes, no, value)


def _give(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)


def _when(number: int, value: int) -> Iterable[bytes]:
    return (_jump(_EQUAL, number, 0, 1), _give(value))


def _unless(number: int, value: int) -> Iterable[bytes]:
    return (_jump(_EQUAL, number, 1, 0), _give(value))


def _when_argument(number: int, argument: int, test: list[bytes]) -> Iterable[bytes]:
    """Refused when it is this call and the low word of an argument passes the test; the number is loaded again."""
    inner = [_load(_ARGUMENTS + 8 * argument), *test, _give(REFUSE + EPERM), _load(_NUMBER)]
    return (_jump(_EQUAL, number, 0, len(inner)), *inner)
