"""The attribution of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..attribution import attribute

__all__ = ["Who", "scope_of"]

log = logging.getLogger("taximeter")

Who = Callable[[Any], "Mapping[str, object] | None"]


def scope_of(who: Who, request: Any) -> attribute:
    """Returns the attribution of a request. If `who` fails, the attribution is empty, so that the request does not fail."""
    try:
        return attribute(**(who(request) or {}))  # type: ignore[arg-type]
    except Exception:
        log.debug("taximeter left a request without attribution", exc_info=True)
        return attribute()
