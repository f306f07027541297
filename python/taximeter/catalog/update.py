"""Keeping the price catalog up to date: on request, or in the background for those who ask for it (`background`).

What was downloaded is merged into the catalog in force by the rules of `merge`, checked by the core, written to the state directory
in one step, and only then put in force. Whatever goes wrong before that leaves everything as it was. Processes that share a state
directory take turns, and each puts in force what another has written.
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
from .store import LICENCE, current, turn, write

__all__ = ["DEFAULT_SOURCE", "preview", "update"]

DEFAULT_SOURCE: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"


def update(path: Path, source: str | None, put_in_force: Callable[[Document], None], *, accept: Iterable[str] = ()) -> Merged | None:
    """Download the catalog, merge it into the last one, and put it in force.

    Args:
        path: The catalog's file in the state directory.
        source: A URL or a path of a catalog, or of the public data of genai-prices; that, by default.
        put_in_force: Is given the catalog that is to price from here on.
        accept: Entries, as `provider/model`, whose rates may move however far.

    Returns:
        What changed; `None` when the source has nothing new.

    Raises:
        CatalogError: It could not be read, or must not be believed. The old catalog stays in force.
    """
    source = _source(source)
    accepted = set(accept)
    with turn(path):
        old = current(path)
        known = old.get("etag") if old.get("url") == source and not accepted else None
        text, etag = download(source, known)
        if text is None:
            put_in_force(old)
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
            merged.document = seal({**head, **seen, "providers": providers}, head["as_of"])
        _core.check_catalog(render(merged.document))
        write(path, render(merged.document))
        put_in_force(merged.document)
    return merged


def preview(path: Path, source: str | None, *, accept: Iterable[str] = ()) -> Merged:
    """What `update` would change. Nothing is written or put in force.

    Raises:
        CatalogError: As `update`.
    """
    text, _ = download(_source(source))
    return _merge(current(path), text or "", set(accept))


def _source(source: str | None) -> str:
    chosen = DEFAULT_SOURCE if source is None else source
    check_source(chosen)
    return chosen


def _merge(old: Document, text: str, accepted: set[str]) -> Merged:
    """The old catalog with what a source sent: one of ours, or the public data of genai-prices."""
    known = {f"{provider['id']}/{model['id']}" for provider in old["providers"] for model in provider["models"]}
    if odd := sorted(accepted - known):
        raise CatalogError(f"{odd[0]} is no entry of the catalog: there is nothing to accept")
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"the source sent no JSON: {error}") from None
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
        # Its own day, or the same catalog could not be read again tomorrow.
        head |= {name: found[name] for name in ("currency", "source", "licence", "as_of") if found.get(name)}
    else:
        raise CatalogError("the source sent neither a price catalog nor the data of genai-prices")
    return merge(old, {**head, "providers": providers}, today=today, accept=accepted, left_out=left_out)


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
