"""The attribution of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .. import attribution

__all__ = ["Who", "scope_of"]

log = logging.getLogger("taximeter")

Who = Callable[[Any], "Mapping[str, object] | None"]


def scope_of(who: Who, request: Any) -> attribution.attribute:
    """Return the attribution of a request. If `who` fails, the attribution is empty, so that the request does not fail."""
    try:
        return attribution.of_mapping(who(request) or {})
    except Exception as error:
        log.debug("taximeter left a request without attribution", exc_info=True)
        attribution.count_remark("attribution_failed", f"{getattr(who, '__qualname__', 'who')} ({type(error).__name__})")
        return attribution.attribute()
