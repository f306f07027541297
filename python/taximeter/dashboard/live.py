"""New calls as they arrive, as server-sent events."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from ..errors import LedgerError
from ..ledger import Where
from .http import Request, RequestError
from .source import Redaction, Source

__all__ = ["Live"]

log = logging.getLogger("taximeter")

_MOST: Final = 500
"""The most calls of one message."""
_RETRY_MS: Final = 2000
_DIGITS: Final = 19
"""The most digits of a number of an event, which has 63 bits."""


class Live:
    """Streams of new calls.

    Args:
        make: Opens a source.
        redaction: What is not shown.
        limit: How many readers there may be at once. Each has a thread.
        every: Seconds between two looks at the ledger.
        heartbeat: Seconds of silence after which a comment is sent, so that a reader that went away is noticed.
    """

    def __init__(
        self, make: Callable[[], Source], redaction: Redaction, *, limit: int = 16, every: float = 0.5, heartbeat: float = 15
    ) -> None:
        self.make = make
        self.redaction = redaction
        self.every = every
        self.heartbeat = heartbeat
        self.places = threading.BoundedSemaphore(limit)

    def open(self, request: Request, where: Where) -> Stream:
        """Begin a stream, after the call that the reader had last.

        Raises:
            RequestError: There are too many readers, or the number of the last call is none.
            ValueError: A condition is invalid.
        """
        last = request.headers.get("last-event-id", "")
        if last and not (last.isascii() and last.isdigit() and len(last) <= _DIGITS):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"Last-Event-ID: {last!r} is not a number that this stream sent")
        source = self.make()
        source.arrivals(0, 1, where=where)  # an invalid condition is an answer of its own
        if not self.places.acquire(blocking=False):
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are live; close one", {"Retry-After": "30"})
        return Stream(self, source, where, int(last) if last else None)


class Stream:
    """One reader's stream. Each message has the number after which the next one continues."""

    def __init__(self, live: Live, source: Source, where: Where, after: int | None) -> None:
        self._live, self._source, self._where, self._after = live, source, where, after
        self._is_new = True
        self._is_open = True

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        live, silent_since = self._live, time.monotonic()
        while self._is_open:
            try:
                events, self._after = self._source.arrivals(self._after, _MOST, where=self._where)
            except LedgerError as error:
                # The reader connects again.
                log.warning("taximeter's dashboard ends a live stream: %s", error)
                break
            if events:
                self._is_new = False
                calls = json.dumps([live.redaction.event(event) for event in events])
                return f"event: calls\nid: {self._after}\ndata: {calls}\n\n".encode()
            if self._is_new:
                self._is_new = False
                return f"retry: {_RETRY_MS}\nid: {self._after}\n\n".encode()
            if time.monotonic() - silent_since >= live.heartbeat:
                return f"id: {self._after}\n\n".encode()
            time.sleep(live.every)
        raise StopIteration

    def close(self) -> None:
        """Make place for another reader."""
        if self._is_open:
            self._is_open = False
            self._live.places.release()
