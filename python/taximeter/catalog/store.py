"""The catalog's file in the state directory: reading it, locking it and replacing it atomically."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .. import _core, files
from ..errors import CatalogError
from .document import Document
from .source import MAX_BYTES

__all__ = ["LICENCE", "current", "locked", "write"]

log = logging.getLogger("taximeter")

LICENCE: Final = "MIT, Copyright Pydantic Services Inc. 2025 to present"


def current(path: Path) -> Document:
    """Return the downloaded catalog, or the embedded one if that is newer."""
    embedded: Document = json.loads(_core.embedded_catalog())
    found = _on_disk(path)
    if found is not None and found.get("as_of", "") >= embedded["as_of"]:
        return found
    return {**embedded, "licence": LICENCE}


def _on_disk(path: Path) -> Document | None:
    try:
        text = files.read(path, MAX_BYTES).decode("utf-8")
        # The core checks the document before this code relies on its form.
        _core.check_catalog(text)
        return dict(json.loads(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, CatalogError) as error:
        log.warning("taximeter: the downloaded price catalog cannot be read, and the embedded one is used: %s", error)
        return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the catalog against other processes. Without file locks (on Windows), the last process to write wins."""
    _make_private(path.parent)
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    try:
        lock = open(path.with_name("lock"), "a", opener=_private)  # noqa: SIM115 - closed below
    except OSError as error:
        raise CatalogError(f"{path.with_name('lock')}: {error.strerror or error}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_private(directory: Path) -> None:
    try:
        for place in (directory.parent, directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"{directory}: {error.strerror or error}") from None


def _private(path: str, flags: int) -> int:
    # O_NOFOLLOW rejects links, and O_NONBLOCK keeps a FIFO from blocking the process.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o600)


def write(path: Path, text: str) -> None:
    """Replace the file atomically. Only its owner can read it.

    Raises:
        CatalogError: The file cannot be written.
    """
    fresh: str | None = None
    try:
        handle, fresh = tempfile.mkstemp(prefix=".catalog-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except OSError as error:
        if fresh is not None:
            with suppress(OSError):
                Path(fresh).unlink()
        raise CatalogError(f"{path}: {error.strerror or error}") from None
