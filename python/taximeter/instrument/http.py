"""Following an HTTP response to its end while its client reads it, whichever HTTP library it comes from."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .call import current_call
from .failures import failed
from .recorder import Admit, Recorder, Scanner, Watched, scanner_for

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["follow"]

_ERRORS: Final = 400
"""Statuses from here on are refusals, which are not billed."""


def follow(
    meter: Meter,
    wire: str,
    fields: Mapping[str, Any],
    response: Any,
    *,
    admit: Admit | None = None,
    reader: Callable[[], Scanner] | None = None,
) -> None:
    """Watches one response from here to its end, and records one event then. A refusal is a failure of its call.

    Args:
        meter: Where the event goes.
        wire: Whose format it is, as `_core.Scanner` names it.
        fields: What is known of the event; the response's own model and tier come before it.
        response: A response of `httpx` or `httpx2`, read or not.
        admit: Says of what was found whether it is an event.
        reader: Makes who reads it, where the content type does not tell.
    """
    if response.status_code >= _ERRORS:
        if response.request.method == "POST":
            failed(meter, fields, f"HTTP {response.status_code}")
        return
    content_type = response.headers.get("content-type", "")
    call = current_call()
    is_read = response.is_closed
    encoding = "" if is_read else response.headers.get("content-encoding", "").strip().lower()
    is_stream = "event-stream" in content_type.lower()
    strips = call is not None and call.strips_usage and is_stream
    scanner: Scanner | None = None
    # The one compression that the extension's scanner reads itself.
    is_gzip = encoding == "gzip" and reader is None
    try:
        if reader is not None:
            scanner = reader()
        else:
            scanner = scanner_for(meter, wire, fields["provider"], content_type, gzip=is_gzip, strip=strips)
        if not is_gzip and encoding not in {"identity", ""}:
            scanner = _Decoding(scanner, _decoder(response, encoding))
    except ValueError:  # neither JSON nor a stream of it: what it used is not said
        scanner = None
    recorder = Recorder(meter, scanner, dict(fields), call, admit=admit)
    if not is_read:
        response.stream = _tee(response, recorder)
        return
    if scanner is not None:
        passed = recorder.feed(response.content) + recorder.rest()
        if strips:
            response._content = passed  # noqa: SLF001 - what is read has no other place
    recorder.finish()


def _decoder(response: Any, encoding: str) -> Any:
    """A decoder of the transport's own, beside the one that it reads the response with.

    Raises:
        ValueError: It has none for this encoding.
    """
    module = sys.modules.get(f"{_transport_of(response)}._decoders")
    kind = getattr(module, "SUPPORTED_DECODERS", {}).get(encoding)
    if kind is None:
        raise ValueError(encoding)
    return kind()


class _Decoding:
    """Shows a scanner what is compressed in another way than the scanner reads itself."""

    def __init__(self, inner: Scanner, decoder: Any) -> None:
        self._inner = inner
        self._decoder = decoder

    def feed(self, data: bytes) -> None:
        self._show(self._decoder.decode(data))

    def rest(self) -> None:
        self._show(self._decoder.flush())
        self._inner.rest()

    def _show(self, decoded: bytes | Iterable[bytes]) -> None:
        """`httpx` gives bytes, `httpx2` pieces of them."""
        for piece in (decoded,) if isinstance(decoded, bytes) else decoded:
            self._inner.feed(piece)

    def finish(self) -> Mapping[str, Any] | None:
        return self._inner.finish()


class _SyncTee(Watched):
    def __iter__(self) -> Iterator[bytes]:
        with self._recorder:
            for data in self._inner:
                if passed := self._recorder.feed(data):
                    yield passed
            if rest := self._recorder.rest():
                yield rest

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._recorder.finish()


class _AsyncTee(Watched):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._recorder:
            async for data in self._inner:
                if passed := self._recorder.feed(data):
                    yield passed
            if rest := self._recorder.rest():
                yield rest

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._recorder.finish()


@functools.cache
def _tee_class(transport: str, kind: str) -> Any:
    """A tee that the transport's own type checks accept. Which transport a client uses is its own choice and changes."""
    base = getattr(sys.modules[transport], f"{kind}ByteStream")
    return type(f"{kind}Tee", ({"Sync": _SyncTee, "Async": _AsyncTee}[kind], base), {})


def _transport_of(response: Any) -> str:
    """The package that a response is of: `httpx` or `httpx2`."""
    roots = (kind.__module__.partition(".")[0] for kind in type(response).__mro__)
    return next(root for root in roots if hasattr(sys.modules.get(root), "SyncByteStream"))


def _tee(response: Any, recorder: Recorder) -> Any:
    transport = _transport_of(response)
    kind = "Async" if hasattr(response.stream, "__aiter__") and not hasattr(response.stream, "__iter__") else "Sync"
    return _tee_class(transport, kind)(response.stream, recorder)
