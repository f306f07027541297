"""Reads files that a user names or that are in the state directory. Never blocks on a FIFO, and never reads without limit."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

__all__ = ["MAX_BYTES", "decode", "read"]

MAX_BYTES: Final = 16 << 20
"""The most bytes of a file with settings, prices or certificates: thirty times the size of the public price data in 2026."""


def read(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a regular file.

    Args:
        path: The file's path.
        max_bytes: The size limit in bytes.

    Raises:
        OSError: The system reports an error, the file is larger than `max_bytes`, or the path leads to a FIFO, a socket, a device
            or a directory, which could block the process.
    """
    # Without O_NONBLOCK, opening a FIFO blocks until its other end is opened.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes >> 20} MB", os.fspath(path))
    return data


def decode(data: bytes) -> str:
    """Decodes UTF-8, or UTF-16 with a byte order mark. The byte order mark, which editors on Windows write, is removed.

    Raises:
        ValueError: The bytes are in neither encoding.
    """
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")
