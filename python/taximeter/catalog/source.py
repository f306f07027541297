"""The sources of a catalog: a path, or a URL over https. Downloads are limited in size and time."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .. import _core, files
from ..errors import CatalogError

__all__ = ["MAX_BYTES", "check_source", "download"]

# Thirty times the size of the public data in 2026.
MAX_BYTES: Final = 16 << 20
# The limit for one network operation, and for a whole download.
STALL_SECONDS: Final = 10.0
MAX_SECONDS: Final = 60.0
_PIECE: Final = 1 << 16
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def check_source(source: str) -> None:
    """Reject a source that is not an https URL, a URL of localhost or a path. The message does not repeat the URL.

    Raises:
        CatalogError: The source is rejected.
    """
    if not source.strip():
        raise CatalogError("the source is empty")
    if "://" not in source:
        return
    try:
        parts = urlsplit(source)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise CatalogError("the source is not a valid URL") from None
    if parts.scheme == "file":
        return
    if parts.username is not None or parts.password is not None or any(c.isspace() or not c.isprintable() for c in source):
        raise CatalogError("the source must be a URL without user, password or spaces")
    if not host or parts.scheme not in {"http", "https"}:
        raise CatalogError("the source must be an https URL or a path")
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise CatalogError(f"{host}: prices are downloaded over https, or from localhost")


def download(source: str, etag: str | None = None) -> tuple[str | None, str | None]:
    """Read the text of a file or a URL.

    Args:
        source: A path or a URL.
        etag: The ETag of the text that is already known.

    Returns:
        The text, and the ETag of a URL. The text is `None` if its ETag is the given one.

    Raises:
        CatalogError: The text cannot be read, is too large or is not UTF-8, or the connection would be unencrypted.
    """
    check_source(source)
    deadline = time.monotonic() + MAX_SECONDS
    if "://" not in source or source.startswith("file://"):
        path = Path(source.removeprefix("file://")).expanduser()
        try:
            return files.decode(files.read(path, MAX_BYTES)), None
        except OSError as error:
            raise CatalogError(f"{path}: {error.strerror or error}") from None
        except ValueError:
            raise CatalogError(f"{path}: not UTF-8") from None
    return _with_deadline(lambda: _fetch(source, etag, deadline), deadline)


Fetched = tuple[str | None, str | None]


def _with_deadline(fetch: Callable[[], Fetched], deadline: float) -> Fetched:
    """Run a download in a thread, because only this limits its total time if the server sends single bytes slowly."""
    outcome: list[Fetched | Exception] = []

    def run() -> None:
        try:
            outcome.append(fetch())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="taximeter-download", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not outcome:
        raise CatalogError(f"the source took more than {MAX_SECONDS:.0f} seconds")
    found = outcome.pop()
    try:
        if isinstance(found, Exception):
            raise found
        return found
    finally:
        # An error that refers to itself through its frames would keep the connection open until the garbage collector runs.
        del found


def _fetch(source: str, etag: str | None, deadline: float) -> Fetched:
    # Errors name only the host, because the URL may hold a key.
    host = urlsplit(source).hostname
    request = urllib.request.Request(source, headers={"User-Agent": f"taximeter/{_core.__version__}"})  # noqa: S310 - checked above
    if etag:
        request.add_header("If-None-Match", etag)
    try:
        with _opener(is_local=host in _LOOPBACK).open(request, timeout=STALL_SECONDS) as response:
            return _text(response, deadline), response.headers.get("ETag")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.NOT_MODIFIED:
            return None, etag
        raise CatalogError(f"{host} answered {error.code}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise CatalogError(f"{host}: {getattr(reason, 'strerror', None) or type(reason).__name__}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CatalogError(f"{host}: {type(error).__name__}") from None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only from https to https, and within localhost."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_source(newurl)
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in {"http", "https"} or (new.hostname in _LOOPBACK) != (old.hostname in _LOOPBACK):
            raise CatalogError(f"{old.hostname} redirects to another kind of address, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(*, is_local: bool) -> urllib.request.OpenerDirector:
    # A proxy would see requests for localhost, and unencrypted.
    proxies = [urllib.request.ProxyHandler({})] if is_local else []
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(_SafeRedirects, https, *proxies)


def _text(response: http.client.HTTPResponse, deadline: float) -> str:
    data = bytearray()
    # Not `read`, which would block until all requested bytes arrive.
    while piece := response.read1(_PIECE):
        data += piece
        if len(data) > MAX_BYTES:
            raise CatalogError(f"the source sent more than {MAX_BYTES >> 20} MB")
        if time.monotonic() > deadline:
            raise CatalogError(f"the source took more than {MAX_SECONDS:.0f} seconds")
    try:
        return files.decode(bytes(data))
    except ValueError:
        raise CatalogError("the source sent text that is not UTF-8") from None
