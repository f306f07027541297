"""Follows an HTTP response to its end while its client reads it, with any of the HTTP libraries."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import _core
from ..budgets.gate import claim
from ..errors import BudgetExceeded
from .call import current_call
from .failures import failed
from .recorder import Admit, Recorder, Scanner, Watched, scanner_for

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["follow"]

_ERRORS: Final = 400
"""Statuses from here on are errors, which are not billed."""


def follow(
    meter: Engine,
    wire: str,
    fields: Mapping[str, Any],
    response: Any,
    *,
    admit: Admit | None = None,
    settles: bool = False,
    reader: Callable[[], Scanner] | None = None,
    scope: _core.Scope | None = None,
) -> None:
    """Follow one response to its end, and record one event then. An error status is a failure of its call.

    Args:
        meter: The meter that records the event.
        wire: The format of the response, as `_core.Scanner` names it.
        fields: The known fields of the event. The model and the tier in the response override them.
        response: A response of `httpx` or `httpx2`, read or not.
        admit: Decides from what was found whether the response is an event.
        settles: Whether `admit` accepts every response whose work has ended.
        reader: Makes the scanner, if it is not the extension's.
        scope: Attribution that comes before that of the call.
    """
    if response.status_code >= _ERRORS:
        if response.request.method == "POST":
            failed(meter, fields, f"HTTP {response.status_code}")
        return
    # As bytes, because each look-up in headers of `httpx` decodes all of them.
    content_type, encoding, tier = _core.header_values(response.headers.raw)
    call = current_call()
    is_read = response.is_closed
    if is_read:
        encoding = ""
    strips = call is not None and call.strips_usage
    scanner: Scanner | None = None
    # A response that was read is scanned when the scanner is made, unless the caller gets it without its usage.
    data = getattr(response, "_content", None) if is_read and not strips and reader is None else None
    # The only compression that the extension's scanner reads itself.
    is_gzip = encoding == "gzip" and reader is None
    try:
        if reader is not None:
            scanner = reader()
        else:
            scanner = scanner_for(meter, wire, fields["provider"], content_type, gzip=is_gzip, strip=strips, data=data)
        if not is_gzip and encoding not in {"identity", ""}:
            scanner = _Decoding(scanner, _decoder(response, encoding))
    except ValueError:  # a compression that the client does not know either
        scanner = None
    known = dict(fields)
    # Google says here which tier served.
    if tier:
        known["service_tier"] = tier
    recorder = Recorder(meter, scanner, known, call, admit=admit, settles=settles, scope=scope, ticket=claim())
    if not is_read:
        response.stream = _tee(response, recorder)
        return
    if scanner is not None and (data is None or type(scanner) is not _core.Scanner):
        passed = recorder.feed(response.content)
        if strips or type(scanner) is not _core.Scanner:
            passed += recorder.rest()
        if strips:
            response._content = passed  # noqa: SLF001 - there is no public way to replace a read body
    recorder.finish()


def _decoder(response: Any, encoding: str) -> Any:
    """Return a separate decoder of the HTTP library, in addition to the one that it reads the response with.

    Raises:
        ValueError: The library has none for this encoding.
    """
    kind_of_response: Any = type(response)
    module = sys.modules.get(f"{_transport_of(kind_of_response)}._decoders")
    kind = getattr(module, "SUPPORTED_DECODERS", {}).get(encoding)
    if kind is None:
        raise ValueError(encoding)
    return kind()


class _Decoding:
    """Decompresses a response for a scanner, for compressions that the scanner does not read itself."""

    def __init__(self, inner: Scanner, decoder: Any) -> None:
        self._inner = inner
        self._decoder = decoder

    def feed(self, data: bytes) -> None:
        self._show(self._decoder.decode(data))

    def rest(self) -> None:
        self._show(self._decoder.flush())
        self._inner.rest()

    def _show(self, decoded: bytes | Iterable[bytes]) -> None:
        """Show decoded data to the scanner. `httpx` decodes to bytes, `httpx2` to several pieces."""
        for piece in (decoded,) if isinstance(decoded, bytes) else decoded:
            self._inner.feed(piece)

    def finish(self) -> Mapping[str, Any] | None:
        return self._inner.finish()


class _SyncTee(Watched):
    def __iter__(self) -> Iterator[bytes]:
        with self._recorder:
            feed = self._recorder.feed
            try:
                for data in self._inner:
                    if passed := feed(data):
                        yield passed
            except BudgetExceeded:
                self._inner.close()
                raise
            if rest := self._recorder.rest():
                yield rest

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._recorder.finish(is_cut=True)


class _AsyncTee(Watched):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._recorder:
            feed = self._recorder.feed
            try:
                async for data in self._inner:
                    if passed := feed(data):
                        yield passed
            except BudgetExceeded:
                await self._inner.aclose()
                raise
            if rest := self._recorder.rest():
                yield rest

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._recorder.finish(is_cut=True)


@functools.cache
def _tee_class(transport: str, kind: str) -> Any:
    """Return a tee class that passes the type checks of the client's HTTP library, which may change between versions."""
    base = getattr(sys.modules[transport], f"{kind}ByteStream")
    return type(f"{kind}Tee", ({"Sync": _SyncTee, "Async": _AsyncTee}[kind], base), {})


@functools.cache
def _transport_of(response_class: Any) -> str:
    """Return the package of a class of responses: `httpx` or `httpx2`."""
    roots: list[str] = [kind.__module__.partition(".")[0] for kind in response_class.__mro__]
    return next(root for root in roots if hasattr(sys.modules.get(root), "SyncByteStream"))


def _tee(response: Any, recorder: Recorder) -> Any:
    kind_of_response: Any = type(response)
    transport = _transport_of(kind_of_response)
    kind = "Async" if hasattr(response.stream, "__aiter__") and not hasattr(response.stream, "__iter__") else "Sync"
    return _tee_class(transport, kind)(response.stream, recorder)
