"""Keeping the price catalog up to date: on request, or in the background for those who ask for it.

What was downloaded is merged into the catalog in force by the rules of `taximeter.catalogs`, checked by the core, written to the
state directory in one step, and only then put in force. Whatever goes wrong before that leaves everything as it was.
"""

from __future__ import annotations

import json
import logging
import os
import random
import ssl
import threading
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from . import __version__, _core, catalogs
from .errors import CatalogError

if TYPE_CHECKING:
    from .meter import Meter

__all__ = ["DEFAULT_SOURCE", "current", "download", "keep_fresh", "preview", "update"]

log = logging.getLogger("taximeter")

DEFAULT_SOURCE: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
LICENCE: Final = "MIT, Copyright Pydantic Services Inc. 2025 to present"
# Thirty times what the public data has in 2026.
LARGEST: Final = 16 << 20
TIMEOUT: Final = 20.0
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def current(meter: Meter) -> catalogs.Document:
    """The last catalog that was downloaded, or the one this version was built with."""
    settings = meter.settings or meter.configure({})
    if settings.catalog.exists():
        try:
            found = json.loads(settings.catalog.read_text("utf-8"))
            if found.get("as_of", "") >= meter.catalog_as_of:
                return dict(found)
        except (OSError, ValueError, AttributeError) as error:
            log.warning("taximeter: the downloaded price catalog cannot be read, and is replaced: %s", error)
    return {**json.loads(_core.embedded_catalog()), "licence": LICENCE}


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
    settings = meter.settings or meter.configure({})
    source = source or settings.prices.source or DEFAULT_SOURCE
    old = current(meter)
    text, etag = download(source, old.get("etag") if old.get("url") == source else None)
    if text is None:
        return None
    new = _read(text)
    merged = catalogs.merge(old, new, today=date.fromisoformat(new["as_of"]), accept=accept)
    found = {"etag": etag, "url": source} if urlsplit(source).scheme in {"http", "https"} else {}
    head = {name: value for name, value in merged.document.items() if name not in {"etag", "url", "providers"}}
    providers = merged.document["providers"]
    if providers == old["providers"]:
        # The same rates keep their name: an event says by it what priced it.
        merged.document = {**head, "version": old["version"], "as_of": old["as_of"], **found, "providers": providers}
    else:
        merged.document = catalogs.seal({**head, **found, "providers": providers})
    rendered = catalogs.render(merged.document)
    _core.check_catalog(rendered)
    _write(settings.catalog, rendered)
    meter.set_catalog(rendered)
    return merged


def preview(meter: Meter, source: str | None = None, *, accept: Iterable[str] = ()) -> catalogs.Merged:
    """What `update` would change. Nothing is written or put in force.

    Raises:
        CatalogError: As `update`.
    """
    settings = meter.settings or meter.configure({})
    text, _ = download(source or settings.prices.source or DEFAULT_SOURCE)
    new = _read(text or "")
    return catalogs.merge(current(meter), new, today=date.fromisoformat(new["as_of"]), accept=accept)


def _read(text: str) -> catalogs.Document:
    """A catalog from what a source sent: one of ours, or the public data of genai-prices."""
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"the source sent no JSON: {error}") from None
    today = date.today().isoformat()  # noqa: DTZ011 - the day on this machine
    if isinstance(found, list):
        providers, left_out = catalogs.from_genai(found, strict=False)
        for entry in left_out:
            log.info("taximeter: left out of the price catalog: %s", entry)
        head = {"schema": catalogs.SCHEMA, "currency": "USD", "source": "genai-prices", "version": "", "as_of": today}
        return {**head, "licence": LICENCE, "providers": providers}
    if not isinstance(found, dict) or not isinstance(found.get("providers"), list):
        raise CatalogError("the source sent neither a price catalog nor the data of genai-prices")
    # The core reads it before anything here relies on its shape.
    _core.check_catalog(text)
    return {**found, "as_of": found.get("as_of") or today}


def download(source: str, etag: str | None = None) -> tuple[str | None, str | None]:
    """The text of a URL or a file, and the ETag of a URL; no text when it is the one that the given ETag is of.

    Raises:
        CatalogError: It cannot be had, is too large, is no UTF-8, or would come over a connection that anyone can change.
    """
    parts = urlsplit(source)
    try:
        if parts.scheme not in {"http", "https"}:
            path = Path(source.removeprefix("file://")).expanduser()
            with path.open("rb") as file:
                return _decoded(_capped(file)), None
        _refuse_plain(source)
        request = urllib.request.Request(source, headers={"User-Agent": f"taximeter/{__version__}"})  # noqa: S310 - checked above
        if etag:
            request.add_header("If-None-Match", etag)
        with _opener().open(request, timeout=TIMEOUT) as response:
            return _decoded(_capped(response)), response.headers.get("ETag")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:  # noqa: PLR2004 - not modified
            return None, etag
        raise CatalogError(f"{parts.hostname} answered {error.code}") from None
    except (OSError, ValueError) as error:
        # A URL can hold a key: only its host is repeated.
        raise CatalogError(f"{parts.hostname or source}: {getattr(error, 'reason', None) or error}") from None


def _refuse_plain(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise CatalogError(f"{parts.hostname}: prices are downloaded over https only, or from this machine")


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_plain(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoDowngrade, urllib.request.HTTPSHandler(context=ssl.create_default_context()))


def _capped(file: IO[bytes]) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise CatalogError(f"the source sent more than {LARGEST >> 20} MB")
    return data


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CatalogError("the source sent no UTF-8") from None


def _write(path: Path, text: str) -> None:
    """In one step, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        for directory in (path.parent.parent, path.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(fresh, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise CatalogError(f"{path}: {error.strerror or error}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def keep_fresh(meter: Meter) -> None:
    """Update the meter's catalog now and then, in a thread that ends with the meter. Failures are logged once each."""
    # In a forked child the parent's thread is there by name only.
    if meter.refresher is None or not meter.refresher.is_alive():
        meter.refresher = threading.Thread(target=_refresh, args=(weakref.ref(meter),), name="taximeter-prices", daemon=True)
        meter.refresher.start()


def _refresh(reference: weakref.ref[Meter]) -> None:
    wait = threading.Event()
    failure = ""
    while True:
        meter = reference()
        every = None if meter is None or meter.settings is None else meter.settings.prices.refresh
        if meter is None or every is None:
            return
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
        # Spread, so that a fleet that started together does not ask together.
        wait.wait(every * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
