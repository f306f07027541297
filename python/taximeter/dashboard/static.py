"""The files of the page. They are part of the package and change only with it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from ..chart import STYLE
from .http import Response

__all__ = ["page", "static"]

_PLACE: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER: Final = "private, max-age=31536000, immutable"
"""Addresses of files have a digest of their content, so what a browser keeps is never old."""
_QUERY: Final = re.compile(r"[\w.~%&=+:;,@!$'()*/?-]{0,2000}", re.ASCII)
"""Queries that can be in a header as they stand."""


def static(path: str) -> Response | None:
    """Return the file of the page at a path; `None` if the page has no such file."""
    return _files().get(path)


def page(query: str) -> Response:
    """Return the page itself. Its first panel is asked for by a header, so the browser does so before it has read anything else.

    Args:
        query: The query of its address, as it was sent.
    """
    if not _QUERY.fullmatch(query):
        return _files()["/"]
    first = f"<api/v1/first{f'?{query}' if query else ''}>; rel=preload; as=fetch; crossorigin"
    return replace(_files()["/"], headers={"Link": first})


@cache
def _files() -> dict[str, Response]:
    content = {one.name: one.read_bytes() for one in sorted(_PLACE.iterdir()) if one.suffix in _KINDS}
    # The styles of charts come from the module that draws them.
    content["style.css"] = STYLE.encode() + b"\n" + content["style.css"]
    digest = hashlib.sha256(b"\0".join(content.values())).hexdigest()[:12]
    html = content.pop("index.html").replace(b'"static/', f'"static/{digest}/'.encode())
    found = {f"/static/{digest}/{name}": Response(body, _KINDS[Path(name).suffix], cache=_FOR_EVER) for name, body in content.items()}
    return {**found, "/": Response(html, _KINDS[".html"])}
