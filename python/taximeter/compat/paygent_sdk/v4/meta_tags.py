"""The tags of Paygent's events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["merge_meta_tags", "normalize_meta_tags", "tags_of"]

from .._client import log

_MAX_TAGS: Final = 20
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_VALUE: Final = 256
# Characters of a key in an error message.
_SHOWN: Final = 40


def normalize_meta_tags(raw: Any) -> dict[str, str] | None:
    """Return tags as texts; `None` without tags.

    Raises:
        ValueError: The service would reject them. The message says why.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise ValueError("meta_tags must be a mapping of texts")  # noqa: TRY004 - the interface's
    if len(raw) > _MAX_TAGS:
        raise ValueError(f"meta_tags has {len(raw)} entries; {_MAX_TAGS} are allowed")
    tags = {str(key).strip(): str(value).strip() for key, value in raw.items()}
    for key, value in tags.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"meta_tags: the key {key[:_SHOWN]!r} must have 1 to 64 letters, digits, _ and -")
        if len(value) > _MAX_VALUE:
            raise ValueError(f"meta_tags: the value of {key[:_SHOWN]!r} has more than {_MAX_VALUE} characters")
    return tags or None


def merge_meta_tags(explicit: Any = None, from_data: Any = None) -> dict[str, str] | None:
    """Return both sets together; those of the first take precedence. A set that the service would reject is left out."""
    return tags_of(from_data, explicit).get("metaTags")


def tags_of(*given: Any) -> dict[str, dict[str, str]]:
    """Return tags in the service's form; later sets take precedence. A set that the service would reject is left out."""
    merged: dict[str, str] = {}
    for tags in given:
        if not tags:
            continue
        try:
            merged |= normalize_meta_tags(tags) or {}
        except ValueError as error:
            log.warning("meta_tags were left out: %s", error)
    return {"metaTags": merged} if merged else {}
