"""The files of the page. They are part of the package and change only with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from ..chart import STYLE
from .http import Response

__all__ = ["static"]

_PLACE: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static(path: str) -> Response | None:
    """Return the file of the page at a path; `None` if the page has no such file."""
    return _files().get(path)


@cache
def _files() -> dict[str, Response]:
    found = {
        "/" if one.name == "index.html" else f"/static/{one.name}": Response(one.read_bytes(), _KINDS[one.suffix])
        for one in _PLACE.iterdir()
        if one.suffix in _KINDS
    }
    # The styles of charts come from the module that draws them.
    return {**found, "/static/chart.css": Response(STYLE.encode(), _KINDS[".css"])}
