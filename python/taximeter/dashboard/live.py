"""New calls as they arrive, as server-sent events."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

from ..errors import LedgerError
from ..ledger import Where
from ..types import Event
from .http import Request, RequestError
from .source import Redaction, Source

__all__ = ["Live"]

log = logging.getLogger("taximeter")

_MOST: Final = 500
"""The most calls of one look at the ledger: more than a reader can follow, and little work beside a fast writer."""
_MOST_BEHIND: Final = 5_000
"""How many calls a stream may be behind. Then it goes on with the newest ones, and sends how many it left out."""
_NEWEST: Final = 50
"""How many of the newest ones it goes on with. Nobody reads faster, and each costs the browser a row beside a busy writer."""
_FULL: Final = 4
"""How many times longer the pause is after a look that found the most calls, or left some out. A flood then costs little beside its
writer, and a burst arrives whole."""
_RETRY_MS: Final = 2000
_PLACE: Final = re.compile(r"(\d{1,19})(?:\.(\d{1,3}))?", re.ASCII)
"""The id of a message: the number after which its page begins, and the place of its call in the page."""


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
            RequestError: There are too many readers, or the id of the last call is invalid.
            ValueError: A condition is invalid.
        """
        last = request.headers.get("last-event-id", "")
        place = _PLACE.fullmatch(last)
        if last and place is None:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"Last-Event-ID: {last!r} is not an id that this stream sent")
        source = self.make()
        source.arrivals(0, 1, where=where)  # an invalid condition is an answer of its own
        if not self.places.acquire(blocking=False):
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are live; close one", {"Retry-After": "30"})
        # The calls of its page that the reader has are skipped.
        skipped = int(place[2]) + 1 if place and place[2] else 0
        return Stream(self, source, where, int(place[1]) if place else None, skipped, request.is_gone)


class Stream:
    """One reader's stream. Each message has a call, and the id after which the next one continues."""

    def __init__(
        self, live: Live, source: Source, where: Where, after: int | None, skipped: int, is_gone: Callable[[], bool] | None
    ) -> None:
        self._is_gone = is_gone
        self._skipped = skipped
        self._live, self._source, self._where, self._after = live, source, where, after
        self._is_new = True
        self._is_open = True
        self._is_full = False
        self._is_behind = False
        self._has_all = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        live, silent_since = self._live, time.monotonic()
        while self._is_open:
            if self._is_full:
                self._is_full = False
                time.sleep(_FULL * live.every)
            try:
                if left_out := self._left_out():
                    return f"event: left-out\nid: {self._after}\ndata: {left_out}\n\n".encode()
                begin = self._after
                events, self._after = ((), begin) if self._has_all else self._source.arrivals(begin, _MOST, where=self._where)
            except LedgerError as error:
                # The reader connects again.
                log.warning("taximeter's dashboard ends a live stream: %s", error)
                break
            if events and (messages := self._messages(begin, events)):
                self._is_new = False
                self._is_full, self._is_behind = self._is_behind or len(events) == _MOST, False
                return messages.encode()
            if self._is_new:
                self._is_new = False
                return f"retry: {_RETRY_MS}\nid: {self._after}\n\n".encode()
            if time.monotonic() - silent_since >= live.heartbeat:
                return f"id: {self._after}\n\n".encode()
            if self._is_gone is not None and self._is_gone():
                break
            time.sleep(live.every)
        raise StopIteration

    def _left_out(self) -> int:
        """Skip calls if the stream is far behind. Return how many. Note whether the ledger has new ones at all."""
        if self._after is None or not self._source.is_file:
            return 0
        _, last = self._source.arrivals(None)
        self._has_all = last == self._after
        if last - self._after <= _MOST_BEHIND:
            return 0
        before, self._after, self._skipped = self._after, last - _NEWEST, 0
        self._is_behind = True
        return self._after - before

    def _messages(self, begin: int | None, events: Sequence[Event]) -> str:
        first, self._skipped = self._skipped, 0
        shown = [json.dumps(self._live.redaction.event(event)) for event in events]
        ids = [*(f"{begin}.{place}" for place in range(len(events) - 1)), str(self._after)]
        return "".join(f"id: {ids[place]}\ndata: {shown[place]}\n\n" for place in range(first, len(events)))

    def close(self) -> None:
        """Make place for another reader."""
        if self._is_open:
            self._is_open = False
            self._live.places.release()
