"""One call of a public method, without taximeter's keywords and headers, with its start time and attribution."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any, Final

from .. import _core, attribution
from ..fields import FIELDS, HEADER_PREFIX, KEYWORD_PREFIX, TAGS, nearest
from . import guard, layers

__all__ = ["CALL", "Call", "carried", "current_call", "drop_own_headers", "own_keywords", "remove_prefixed", "without_own_headers"]

TAG_HEADER_PREFIX: Final = f"{HEADER_PREFIX}tag-"
_RAW_PREFIX: Final = HEADER_PREFIX.encode()
_HEADERS: Final = (
    ("extra_headers",),
    ("http_headers",),
    ("headers",),
    ("request_options", "additional_headers"),
    ("http_options", "headers"),
    ("config", "http_options", "headers"),
)
"""Where clients take the headers of a call: Stainless, Mistral, litellm, Cohere, and Gemini in two places."""
_HOLDERS: Final = frozenset(path[0] for path in _HEADERS)
CALL: Final = "_taximeter_call"
"""The attribute in which a client's object keeps its call."""
_GENERATORS: Final = (GeneratorType, AsyncGeneratorType)
_BY_KEYWORD: Final = {field.keyword: name for name, field in FIELDS.items() if field.keyword}
_BY_HEADER: Final = {field.header: name for name, field in FIELDS.items() if field.header}

_prefixes: tuple[str, ...] = (KEYWORD_PREFIX,)
"""The prefixes of keywords that never reach a client: taximeter's, and those of the SDKs in `taximeter.compat`."""

_call: ContextVar[Call | None] = ContextVar("taximeter_call", default=None)


def current_call() -> Call | None:
    """Return the call in progress. A finished call does not count, although tasks that share a context may leave it there."""
    call = _call.get()
    return call if call is not None and call.is_running else None


def remove_prefixed(prefix: str) -> None:
    """Remove keywords with this prefix from every call from now on, and keep them in `Call.others`."""
    global _prefixes  # noqa: PLW0603 - read in every call, for which a tuple is fastest
    if prefix not in _prefixes:
        _prefixes = (*_prefixes, prefix)


def own_keywords(body: Mapping[Any, Any]) -> list[str]:
    """Return the keywords with one of the prefixes that are not the client's."""
    return [name for name in body if isinstance(name, str) and name.startswith(_prefixes)]


def without_own_headers(holder: Any, path: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return a mapping or pydantic model without taximeter's headers at a path; and these headers, with names in lower case."""
    if not path:
        if not isinstance(holder, Mapping):
            return holder, {}
        own = {name: value for name, value in holder.items() if str(name).lower().startswith(HEADER_PREFIX)}
        kept = {name: value for name, value in holder.items() if name not in own} if own else holder
        return kept, {str(name).lower(): value for name, value in own.items()}
    is_mapping = isinstance(holder, Mapping)
    inner = holder.get(path[0]) if is_mapping else getattr(holder, path[0], None)
    if inner is None:
        return holder, {}
    kept, own = without_own_headers(inner, path[1:])
    if not own:
        return holder, own
    return ({**holder, path[0]: kept} if is_mapping else holder.model_copy(update={path[0]: kept})), own


def drop_own_headers(headers: MutableMapping[str, Any]) -> None:
    """Remove taximeter's headers from headers that are about to be sent."""
    # Those of `httpx` decode all names and values when they are iterated. Their bytes take no Python line a header.
    raw: list[tuple[bytes, bytes]] | None = getattr(headers, "raw", None)
    if raw is not None and _RAW_PREFIX not in b"\n".join(dict(raw)).lower():
        return
    for name in [name for name in headers if name.lower().startswith(HEADER_PREFIX)]:
        del headers[name]


class Call:
    """One call of a public method: its attribution, its start time, and the client's own keywords."""

    __slots__ = (
        "_claim", "_has_scope", "_outer", "_scope", "body", "failure", "ids", "is_layer", "is_running", "kwargs", "others", "started",
        "started_at", "strips_usage",
    )  # fmt: skip
    ids: dict[str, str]
    """The fields that the events of all its requests share: `call_id`, and the span in which it was made."""
    failure: Callable[[type[BaseException]], None] | None
    """Records the failed call with the class of the exception that ended it, and never raises; `None` if no request has failed."""
    is_layer: bool
    """Whether the method calls other clients, and retries their failed calls itself."""

    def __init__(
        self,
        kwargs: dict[str, Any],
        *,
        family: str = "",
        part: Any = None,
        is_layer: bool = False,
        where: str = "the attribution of a call",
    ) -> None:
        """Take the call's attribution from its keywords.

        Args:
            kwargs: The keywords.
            family: The client's family.
            part: The client, or the part of it that has the method.
            is_layer: See the attribute.
            where: The name of the method, for errors.
        """
        self.strips_usage = False
        self.failure = None
        self.body: bytes | None = None
        self.is_layer = is_layer
        self.kwargs = kwargs
        self.started = 0.0
        # A call that a client makes itself (a turn of a tool runner, a batch of texts) is a part of its user's call.
        outer = current_call()
        self.ids = outer.ids if outer is not None else {"call_id": os.urandom(8).hex(), **attribution.active_span()}
        self.others: Mapping[str, Any] = outer.others if outer is not None else {}
        self._scope: _core.Scope | None = None
        self._has_scope = False
        self.is_running = False
        try:
            fields = self._take_fields(family, part)
            if fields:
                self._scope = _scope(fields, family, part)
                self._has_scope = True
        except Exception as error:
            guard.report(where, error, family=family, part=part)

    def _take_fields(self, family: str, part: Any) -> dict[str, Any]:
        """Remove taximeter's keywords and headers from copies, so that the caller's own mappings do not change."""
        fields: dict[str, Any] = {}
        own = {name: self.kwargs[name] for name in self.kwargs if name.startswith(_prefixes)}
        if own:
            self.kwargs = {name: value for name, value in self.kwargs.items() if name not in own}
            for name, value in own.items():
                if name in _BY_KEYWORD:
                    fields[_BY_KEYWORD[name]] = value
                elif name.startswith(KEYWORD_PREFIX):
                    _report_unknown(name, _BY_KEYWORD, family, part)
            if others := {name: value for name, value in own.items() if not name.startswith(KEYWORD_PREFIX)}:
                self.others = {**self.others, **others}
        if _HOLDERS.isdisjoint(self.kwargs):
            return fields
        for path in _HEADERS:
            if path[0] in self.kwargs:
                self.kwargs, headers = without_own_headers(self.kwargs, path)
                for name, value in headers.items():
                    if name.startswith(TAG_HEADER_PREFIX):
                        tags = fields.get(TAGS)
                        fields[TAGS] = {**(tags if isinstance(tags, Mapping) else {}), name[len(TAG_HEADER_PREFIX) :]: value}
                    elif name in _BY_HEADER:
                        fields.setdefault(_BY_HEADER[name], value)
                    else:
                        _report_unknown(name, _BY_HEADER, family, part)
        return fields

    @property
    def has_own(self) -> bool:
        """Whether the call has its own attribution, or keeps that of its beginning."""
        return self._has_scope

    @property
    def scope(self) -> _core.Scope | None:
        """The attribution of the call."""
        return self._scope if self._has_scope else attribution.current()

    def hold(self) -> None:
        """Keep the current attribution, because the requests are made later, possibly in another context."""
        if not self._has_scope:
            self._scope = attribution.current()
            self._has_scope = True

    def __enter__(self) -> Call:
        if self._has_scope:
            attribution.enter(self, self._scope)
        self._outer = _call.get()
        self._claim = layers.current()
        _call.set(self)
        self.is_running = True
        if not self.started:
            self.started_at = time.time()
            self.started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.is_running = False
        if self.failure is not None:
            self._end_failure(kind)
        # A coroutine that is closed instead of awaited may end in another context, where a token would be rejected.
        if _call.get() is self:
            _call.set(self._outer)
            layers.restore(self._claim)
        if self._has_scope:
            attribution.leave(self)

    def _end_failure(self, kind: type[BaseException] | None) -> None:
        """Record a failure if the call ends with it, or pass it to the layer above, which may retry."""
        record, self.failure = self.failure, None
        if record is None or kind is None or kind is GeneratorExit:
            return
        outer = self._outer
        if outer is not None and outer.is_layer and outer.is_running:
            outer.failure = record
            return
        record(kind)


def _scope(fields: Mapping[str, Any], family: str, part: Any) -> _core.Scope:
    """Return the current attribution with these fields, without those that cannot be recorded."""
    scope, dropped = _core.Scope.lenient(attribution.current(), fields)
    for name in dropped:
        guard.count_remark("invalid_text", KEYWORD_PREFIX + name, family=family, part=part)
    return scope


def _report_unknown(name: str, known: Mapping[str, str], family: str, part: Any) -> None:
    """Count and log an unknown keyword or header, with the most similar known name."""
    guard.count_remark("unknown_field", _hint(name, tuple(known)), family=family, part=part)


@lru_cache(maxsize=64)
def _hint(name: str, known: tuple[str, ...]) -> str:
    alike = nearest(name, known)
    return f"{name}: did you mean {alike}?" if alike else name


def carried(result: Any, call: Call) -> Any:
    """Wrap a result whose request is made while it is read or entered, so that this happens in the call. Others are unchanged."""
    if type(result) is GeneratorType:
        call.hold()
        return attribution.steps(call, result)
    if type(result) is AsyncGeneratorType:
        call.hold()
        return attribution.steps_async(call, result)
    # The result of a `contextmanager` function has the generator that makes the request. A missing attribute of the usual result, a
    # model of pydantic, takes long to look up, so its class is checked first.
    if type(result).__module__ == "contextlib" and type(generator := getattr(result, "gen", None)) in _GENERATORS:
        result.gen = carried(generator, call)
    return result
