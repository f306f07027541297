"""Updates the price catalog, on request or regularly (see `background`).

A downloaded catalog is merged into the last one (see `merge`), checked by the core, written to the state directory atomically, and
only then put in force. A failure before that changes nothing. Processes that share a state directory update one at a time, and each
puts in force what another one has written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from .. import _core
from ..errors import CatalogError
from .document import SCHEMA, Document, render, seal
from .genai import from_genai
from .merge import Merged, merge
from .source import check_source, download
from .store import LICENCE, current, locked, write

__all__ = ["DEFAULT_SOURCE", "preview", "update"]

DEFAULT_SOURCE: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"


def update(path: Path, source: str | None, put_in_force: Callable[[Document], None], *, accept: Iterable[str] = ()) -> Merged | None:
    """Download the catalog, merge it into the last one, and put it in force.

    Args:
        path: The catalog's file in the state directory.
        source: The URL or path of a catalog or of data of genai-prices; by default the public data of genai-prices.
        put_in_force: Called with the catalog that prices events from now on.
        accept: Entries, as `provider/model`, whose rates may change by any amount.

    Returns:
        The changes; `None` if the source has nothing new.

    Raises:
        CatalogError: The source could not be read, or was rejected. The old catalog stays in force.
    """
    source = _source(source)
    accepted = set(accept)
    with locked(path):
        old = current(path)
        known = old.get("etag") if old.get("url") == source and not accepted else None
        text, etag = download(source, known)
        if text is None:
            put_in_force(old)
            return None
        merged = _merge(old, text, accepted, _place(source))
        # Entries that were held back or left out may be adopted later. Without an ETag, the source sends them again.
        is_whole = not merged.held and not merged.left_out
        seen = {"etag": etag, "url": source} if etag and is_whole else {}
        head = {name: value for name, value in merged.document.items() if name != "providers"}
        providers = merged.document["providers"]
        if providers == old["providers"]:
            # Unchanged rates keep their version, because events name the version that priced them.
            merged.document = {**head, "version": old["version"], "as_of": old["as_of"], **seen, "providers": providers}
        else:
            merged.document = seal({**head, **seen, "providers": providers}, head["as_of"])
        _core.check_catalog(render(merged.document))
        write(path, render(merged.document))
        put_in_force(merged.document)
    return merged


def preview(path: Path, source: str | None, *, accept: Iterable[str] = ()) -> Merged:
    """Return what `update` would change, without writing it or putting it in force.

    Raises:
        CatalogError: As for `update`.
    """
    chosen = _source(source)
    text, _ = download(chosen)
    return _merge(current(path), text or "", set(accept), _place(chosen))


def _source(source: str | None) -> str:
    chosen = DEFAULT_SOURCE if source is None else source
    check_source(chosen)
    return chosen


def _place(source: str) -> str:
    """Return how errors begin for a source that is not JSON. A file is named by its path; a URL may have a key in it."""
    return "the source did not send JSON" if "://" in source else f"{source}: not JSON"


def _merge(old: Document, text: str, accepted: set[str], place: str) -> Merged:
    """Merge a downloaded text into the old catalog. The text is a catalog of ours or data of genai-prices.

    If it is not JSON, the error begins with `place`.
    """
    known = {f"{provider['id']}/{model['id']}" for provider in old["providers"] for model in provider["models"]}
    if odd := sorted(accepted - known):
        raise CatalogError(f"{odd[0]} is not an entry of the catalog, so it cannot be accepted")
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{place}: {error}") from None
    today = datetime.now(timezone.utc).date()
    head = {"schema": SCHEMA, "currency": "USD", "source": "genai-prices", "version": "", "as_of": today.isoformat()}
    left_out: list[str] = []
    if isinstance(found, list):
        providers, left_out = from_genai(found, strict=False)
        head |= {"licence": LICENCE}
    elif isinstance(found, dict) and isinstance(found.get("providers"), list):
        _core.check_catalog(text)
        _check_day(found.get("as_of", ""), old.get("as_of", ""), today)
        providers = found["providers"]
        # A catalog keeps its own date. Otherwise the same catalog could not be read again tomorrow.
        head |= {name: found[name] for name in ("currency", "source", "licence", "as_of") if found.get(name)}
    else:
        raise CatalogError("the source sent neither a price catalog nor data of genai-prices")
    return merge(old, {**head, "providers": providers}, today=today, accept=accepted, left_out=left_out)


def _check_day(day: Any, last: str, today: date) -> None:
    """Reject a catalog that is older than the last one, or dated in the future: it would outrank every later one."""
    if day == "":
        return
    try:
        found = date.fromisoformat(day)
    except (TypeError, ValueError):
        raise CatalogError(f"as_of: {day!r} is not a date such as 2026-11-22") from None
    if found > today:
        raise CatalogError(f"as_of: {day} is in the future")
    if day < last:
        raise CatalogError(f"as_of: the catalog is from {day}, older than the one in force from {last}")
