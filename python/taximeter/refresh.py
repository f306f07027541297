"""Keeping the price catalog up to date: on request, or in the background for those who ask for it.

What was downloaded is merged into the catalog in force by the rules of `taximeter.catalogs`, checked by the core, written to the
state directory in one step, and only then put in force. Whatever goes wrong before that leaves everything as it was. Processes that
share a state directory take turns, and each puts in force what another has written.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import random
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from . import __version__, _core, catalogs, files
from .errors import CatalogError

if TYPE_CHECKING:
    from .config import Settings
    from .meter import Meter

__all__ = ["DEFAULT_SOURCE", "Refresher", "check_source", "current", "download", "preview", "update"]

log = logging.getLogger("taximeter")

DEFAULT_SOURCE: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
LICENCE: Final = "MIT, Copyright Pydantic Services Inc. 2025 to present"
# Thirty times what the public data has in 2026.
LARGEST: Final = 16 << 20
# For one answer of the network, and for all of them together.
STALL_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 60.0
_PIECE: Final = 1 << 16
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def current(meter: Meter) -> catalogs.Document:
    """The last catalog that was downloaded, or the one this version was built with."""
    settings = _settings(meter)
    embedded: catalogs.Document = json.loads(_core.embedded_catalog())
    found = _on_disk(settings.catalog)
    if found is not None and found.get("as_of", "") >= embedded["as_of"]:
        return found
    return {**embedded, "licence": LICENCE}


def _on_disk(path: Path) -> catalogs.Document | None:
    try:
        text = files.read(path, LARGEST).decode("utf-8")
        # The core reads it before anything here relies on its shape.
        _core.check_catalog(text)
        return dict(json.loads(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, CatalogError) as error:
        log.warning("taximeter: the downloaded price catalog cannot be read, and is replaced: %s", error)
        return None


def _settings(meter: Meter) -> Settings:
    return meter.settings or meter.configure({})


def update(meter: Meter, source: str | None = None, *, accept: Iterable[str] = ()) -> catalogs.Merged | None:
    """Download the catalog, merge it into the last one, and put it in force.

    Args:
        meter: Whose catalog.
        source: A URL or a path of a catalog, or of the public data of genai-prices; that, by default.
        accept: Entries, as `provider/model`, whose rates may move however far.

    Returns:
        What changed; `None` when the source has nothing new.

    Raises:
        CatalogError: It could not be read, or must not be believed. The old catalog stays in force.
    """
    settings = _settings(meter)
    source = _source(settings, source)
    accepted = set(accept)
    with _turn(settings.catalog):
        old = current(meter)
        known = old.get("etag") if old.get("url") == source and not accepted else None
        text, etag = download(source, known)
        if text is None:
            _put_in_force(meter, old)
            return None
        merged = _merge(old, text, accepted)
        # What was held back or left out may be taken over another time: then the source has to send it again.
        is_whole = not merged.held and not merged.left_out
        seen = {"etag": etag, "url": source} if etag and is_whole else {}
        head = {name: value for name, value in merged.document.items() if name != "providers"}
        providers = merged.document["providers"]
        if providers == old["providers"]:
            # The same rates keep their name: an event says by it what priced it.
            merged.document = {**head, "version": old["version"], "as_of": old["as_of"], **seen, "providers": providers}
        else:
            merged.document = catalogs.seal({**head, **seen, "providers": providers}, head["as_of"])
        _core.check_catalog(catalogs.render(merged.document))
        _write(settings.catalog, catalogs.render(merged.document))
        _put_in_force(meter, merged.document)
    return merged


def preview(meter: Meter, source: str | None = None, *, accept: Iterable[str] = ()) -> catalogs.Merged:
    """What `update` would change. Nothing is written or put in force.

    Raises:
        CatalogError: As `update`.
    """
    text, _ = download(_source(_settings(meter), source))
    return _merge(current(meter), text or "", set(accept))


def _source(settings: Settings, source: str | None) -> str:
    chosen = source if source is not None else settings.prices.source or DEFAULT_SOURCE
    check_source(chosen)
    return chosen


def _put_in_force(meter: Meter, document: catalogs.Document) -> None:
    if meter.catalog != f"{document['source']}-{document['version']}":
        meter.set_catalog(catalogs.render(document))


def _merge(old: catalogs.Document, text: str, accepted: set[str]) -> catalogs.Merged:
    """The old catalog with what a source sent: one of ours, or the public data of genai-prices."""
    known = {f"{provider['id']}/{model['id']}" for provider in old["providers"] for model in provider["models"]}
    if odd := sorted(accepted - known):
        raise CatalogError(f"{odd[0]} is no entry of the catalog: there is nothing to accept")
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"the source sent no JSON: {error}") from None
    today = datetime.now(timezone.utc).date()
    head = {"schema": catalogs.SCHEMA, "currency": "USD", "source": "genai-prices", "version": "", "as_of": today.isoformat()}
    left_out: list[str] = []
    if isinstance(found, list):
        providers, left_out = catalogs.from_genai(found, strict=False)
        head |= {"licence": LICENCE}
    elif isinstance(found, dict) and isinstance(found.get("providers"), list):
        _core.check_catalog(text)
        _check_day(found.get("as_of", ""), old.get("as_of", ""), today)
        providers = found["providers"]
        # Its own day, or the same catalog could not be read again tomorrow.
        head |= {name: found[name] for name in ("currency", "source", "licence", "as_of") if found.get(name)}
    else:
        raise CatalogError("the source sent neither a price catalog nor the data of genai-prices")
    return catalogs.merge(old, {**head, "providers": providers}, today=today, accept=accepted, left_out=left_out)


def _check_day(day: Any, last: str, today: date) -> None:
    """A catalog's own day: newer than the last, and not of the future, or it would outrank every later one."""
    if day == "":
        return
    try:
        found = date.fromisoformat(day)
    except (TypeError, ValueError):
        raise CatalogError(f"as_of: {day!r} is not a day such as 2026-11-22") from None
    if found > today:
        raise CatalogError(f"as_of: {day} has not come yet")
    if day < last:
        raise CatalogError(f"as_of: the catalog is of {day}, the one in force of {last}")


# Downloading.


def check_source(source: str) -> None:
    """Refuse what is neither an https URL, nor one of this machine, nor a path. The message does not repeat a URL.

    Raises:
        CatalogError: The source is refused.
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
        raise CatalogError("the source is no valid URL") from None
    if parts.scheme == "file":
        return
    if parts.username is not None or parts.password is not None or any(c.isspace() or not c.isprintable() for c in source):
        raise CatalogError("the source must be a URL without user, password and spaces")
    if not host or parts.scheme not in {"http", "https"}:
        raise CatalogError("the source must be an https URL or a path")
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise CatalogError(f"{host}: prices are downloaded over https only, or from this machine")


def download(source: str, etag: str | None = None) -> tuple[str | None, str | None]:
    """The text of a URL or a file, and the ETag of a URL; no text when it is the one that the given ETag is of.

    Raises:
        CatalogError: It cannot be had, is too large, is no UTF-8, or would come over a connection that anyone can change.
    """
    check_source(source)
    deadline = time.monotonic() + LONGEST_SECONDS
    if "://" not in source or source.startswith("file://"):
        path = Path(source.removeprefix("file://")).expanduser()
        try:
            return files.decode(files.read(path, LARGEST)), None
        except OSError as error:
            raise CatalogError(f"{path}: {error.strerror or error}") from None
        except ValueError:
            raise CatalogError("the source sent text that is not UTF-8") from None
    return _in_time(lambda: _fetch(source, etag, deadline), deadline)


Fetched = tuple[str | None, str | None]


def _in_time(fetch: Callable[[], Fetched], deadline: float) -> Fetched:
    """Fetch in a thread of its own, because no other limit ends a download from a server that sends a byte now and then."""
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
        raise CatalogError(f"the source took more than {LONGEST_SECONDS:.0f} seconds")
    found = outcome.pop()
    try:
        if isinstance(found, Exception):
            raise found
        return found
    finally:
        # An error that refers to itself through its frames would keep the connection open until the garbage collector runs.
        del found


def _fetch(source: str, etag: str | None, deadline: float) -> Fetched:
    # A URL can hold a key: only its host is repeated.
    host = urlsplit(source).hostname
    request = urllib.request.Request(source, headers={"User-Agent": f"taximeter/{__version__}"})  # noqa: S310 - checked above
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


class _SameKind(urllib.request.HTTPRedirectHandler):
    """Follows redirects from https to https, and on this machine."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_source(newurl)
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in {"http", "https"} or (new.hostname in _LOOPBACK) != (old.hostname in _LOOPBACK):
            raise CatalogError(f"{old.hostname} leads elsewhere, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(*, is_local: bool) -> urllib.request.OpenerDirector:
    # A proxy would see what is meant for this machine, and in clear text.
    proxies = [urllib.request.ProxyHandler({})] if is_local else []
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(_SameKind, https, *proxies)


def _text(response: http.client.HTTPResponse, deadline: float) -> str:
    data = bytearray()
    # `read` would wait for all bytes that were asked for.
    while piece := response.read1(_PIECE):
        data += piece
        if len(data) > LARGEST:
            raise CatalogError(f"the source sent more than {LARGEST >> 20} MB")
        if time.monotonic() > deadline:
            raise CatalogError(f"the source took more than {LONGEST_SECONDS:.0f} seconds")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CatalogError("the source sent text that is not UTF-8") from None


# Writing.


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """One process at a time, where the platform has file locks; elsewhere the last one to write wins."""
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
    # Neither follow a link nor wait for the other end of a FIFO.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o600)


def _write(path: Path, text: str) -> None:
    """In one step, readable by its owner alone."""
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


# In the background.


class Refresher:
    """Updates a meter's catalog now and then, in a thread that ends when the meter is closed, is collected or wants no more.

    A forked child has no such thread: it prices with the catalog of its parent until its own `init()`.
    """

    def __init__(self, meter: Meter) -> None:
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._has_ended = False
        self._process = os.getpid()
        self._last: float | None = None
        self._meter = weakref.ref(meter)
        weakref.finalize(meter, self.stop)
        threading.Thread(target=self._run, name="taximeter-prices", daemon=True).start()

    def wake(self) -> bool:
        """Look at the settings again; says whether there is still a thread to do so."""
        if self._process != os.getpid():
            return False
        with self._lock:
            self._wake.set()
            return not self._has_ended

    def stop(self) -> None:
        """End it; what is being downloaded comes to nothing."""
        self._has_ended = True
        self._wake.set()

    def _run(self) -> None:
        failure = ""
        while True:
            with self._lock:
                # Before the look at the settings: what changes after it wakes the wait below.
                self._wake.clear()
                wait = self._wait()
                if wait is None:
                    self._has_ended = True
                    return
            if wait and not self._wake.wait(wait):
                continue
            meter = self._meter()
            if meter is None or self._wait() != 0:
                continue
            try:
                merged = update(meter)
                failure = ""
                if merged is not None:
                    log.info("taximeter: prices updated, %d changes, %d held back", len(merged.changes), len(merged.held))
            except Exception as error:
                if str(error) != failure:
                    log.warning("taximeter: prices could not be updated: %s", error)
                failure = str(error)
            del meter
            self._last = time.monotonic()

    def _wait(self) -> float | None:
        """Seconds to the next download; `None` when there is to be none."""
        meter = self._meter()
        settings = None if meter is None else meter.settings
        if self._has_ended or settings is None or not settings.enabled or settings.prices.refresh is None:
            return None
        # Spread, so that a fleet that started together does not ask together.
        every = settings.prices.refresh * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
        if self._last is not None:
            return max(0.0, self._last + every - time.monotonic())
        try:
            # Another process, or an earlier one, may have done it.
            age = time.time() - settings.catalog.stat().st_mtime
        except OSError:
            return 0.0
        return max(0.0, every - age)
