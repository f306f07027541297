"""Reads files that a user names or that are in the state directory, and never waits for a FIFO or reads without end."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

__all__ = ["LARGEST", "decode", "read"]

LARGEST: Final = 16 << 20
"""Bytes of the largest file of settings, prices or certificates: thirty times what the public price data has in 2026."""


def read(path: str | os.PathLike[str], most: int = LARGEST) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: Those of the system; also when the path leads to a FIFO, a socket, a device or a directory, which could keep a
            starting program waiting for ever, or to a file of more than `most` bytes.
    """
    # Without O_NONBLOCK, opening a FIFO waits for its other end.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", os.fspath(path))
    return data


def decode(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 that says so; a byte order mark, as editors on Windows write it, is removed.

    Raises:
        ValueError: The bytes are in neither encoding.
    """
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")
