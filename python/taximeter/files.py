"""Reads files that a user names or that are in the state directory, and appends notes to the latter.

Never blocks on a FIFO, and never reads without limit.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
import time
from collections.abc import Sequence
from typing import Final

__all__ = ["MAX_BYTES", "add_note", "append", "decode", "give_to_owner", "notes", "read"]

MAX_BYTES: Final = 16 << 20
"""The most bytes of a file with settings, prices or certificates: thirty times the size of the public price data in 2026."""


def read(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file.

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
    """Decode UTF-8, or UTF-16 or UTF-32 with a byte order mark. The byte order mark, which editors on Windows write, is removed.

    Raises:
        ValueError: The bytes are in neither encoding.
    """
    # The mark of UTF-32 begins with that of UTF-16.
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def append(path: str | os.PathLike[str], line: bytes, *, max_bytes: int | None = None) -> int:
    """Append a line to a file that only its owner can access, with one write, so that lines of several processes do not mix.

    Args:
        path: The file, in the state directory. It is created if it does not exist.
        line: The line, with its end.
        max_bytes: The size in bytes beyond which nothing is appended; by default there is no limit.

    Returns:
        The size of the file in bytes.

    Raises:
        OSError: The file cannot be written, or the path is a link.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        give_to_owner(file, path)
        if max_bytes is None or os.fstat(file).st_size + len(line) <= max_bytes:
            os.write(file, line)
        return os.fstat(file).st_size
    finally:
        os.close(file)


def give_to_owner(file: int, path: str | os.PathLike[str]) -> None:
    """Give a new file that root has created in another user's directory to that user, whose programs could not use it otherwise.

    Args:
        file: The descriptor of the file. Nothing is done unless it is empty, belongs to root and has no other name.
        path: Its path.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    directory = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - importing pathlib takes time
    found, place = os.fstat(file), os.stat(directory)  # noqa: PTH116
    if place.st_uid != 0 and (found.st_uid, found.st_size, found.st_nlink) == (0, 0, 1):
        os.fchown(file, place.st_uid, place.st_gid)


_MAX_NOTES_BYTES: Final = 64 * 1024
"""The size at which a file of notes gets no more of them: some 1,000 notes."""
_NOTE_SECONDS: Final = 86_400.0
"""The time in which a note is not repeated, in seconds."""


def add_note(path: str, *fields: str) -> None:
    """Append a note for `taximeter doctor` to a file: its fields and the time, separated by tabs, unless it was added within a day.

    Args:
        path: The file, in the state directory.
        *fields: Texts. Their white space is replaced by spaces.

    Raises:
        OSError: The file cannot be written, or the path is a link.
    """
    fields = tuple(" ".join(field.split())[:500] for field in fields)
    try:
        known = notes(path, len(fields))
    except FileNotFoundError:
        known = []
    now = time.time()
    if any(note == fields and now - at < _NOTE_SECONDS for note, at in known):
        return
    line = "\t".join((*fields, str(int(now)))).encode("utf-8", "replace") + b"\n"
    append(path, line, max_bytes=_MAX_NOTES_BYTES)


def notes(path: str | os.PathLike[str], count: int) -> Sequence[tuple[tuple[str, ...], float]]:
    """Return the notes of a file, the oldest first: the fields of each, and its time in seconds since 1970.

    Args:
        path: The file, in the state directory.
        count: The number of fields. Lines with another number of them, or without a time, are skipped.

    Raises:
        OSError: The file cannot be read.
    """
    found = []
    for line in read(path, 2 * _MAX_NOTES_BYTES).decode("utf-8", "replace").split("\n"):
        *fields, at = line.split("\t")
        if len(fields) == count and at.isdecimal():
            found.append((tuple(fields), float(at)))
    return found
