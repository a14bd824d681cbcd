"""Landlock: a Linux process gives up files and network for good, without asking for a privilege.

The C library has no functions for it yet; the system calls have one number on every architecture of Linux.
"""

import ctypes
import os
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38

_READ_FILE, _LIST_FOLDER = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files the kernel knows, by its version of Landlock; later ones know 16."""
_BIND_AND_CONNECT = 0b11
_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    """What is forbidden unless a rule allows it: rights over files, TCP ports, and what is outside the domain."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    """A rule: what is allowed with a file, or with all that lies in a folder."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def confine(readable: Iterable[str | os.PathLike[str]]) -> bool:
    """From now on this thread, and those it starts, only read, and only what is in `readable` or beneath it.

    No file is written, made, removed or executed; from kernel 6.7 on there is no TCP, and from 6.12 on no signal to
    other processes. What folders hold can be listed everywhere: DuckDB looks for a pattern from the root downwards.
    Paths that are not there are skipped. Returns False, and confines nothing, where the system is not Linux or the
    kernel has no Landlock. Raises OSError if it has, and refuses.
    """
    if sys.platform != "linux":  # where these numbers may be those of other system calls
        return False
    try:
        version = _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return False
    forbidden = (1 << _FILE_RIGHTS.get(version, 16)) - 1 & ~_LIST_FOLDER
    ruleset = _Ruleset(forbidden, _BIND_AND_CONNECT, _SOCKETS_AND_SIGNALS)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _call(_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    try:
        for path in readable:
            _allow_reading(rules, path)
        if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl refused PR_SET_NO_NEW_PRIVS")
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def _allow_reading(rules: int, path: str | os.PathLike[str]) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _call(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(_Beneath(_READ_FILE, descriptor)), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    # A variadic function takes an integer as an int unless told, and the kernel reads all 64 bits of it.
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    library.syscall.restype = ctypes.c_long
    result = library.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock's system call {number}: {os.strerror(ctypes.get_errno())}")
    return result
