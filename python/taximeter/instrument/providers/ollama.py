"""The Ollama client."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ...budgets.gate import claim
from .. import bindings, http
from ..bindings import Family
from ..call import current_call, drop_own_headers
from ..failures import failed
from ..gates import Found, asked_in, count, limited
from ..recorder import Recorder, recorded, recorded_async, scanner_for
from ..shims import after, put, shim_public

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "ollama"
_CLIENTS: Final = "ollama._client"
_OPERATIONS: Final = {
    "/api/chat": "chat",
    "/api/generate": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}
_LAST: Final = ("model", "done", "done_reason", "prompt_eval_count", "eval_count")


def _fields(path: str, body: object) -> dict[str, Any] | None:
    """Return the known fields of a request's event; `None` if it is not metered."""
    operation = _OPERATIONS.get(path)
    model = body.get("model") if isinstance(body, Mapping) else None
    return operation and {"provider": _NAME, "model": model, "operation": operation}  # type: ignore[return-value]


def _look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
    meter = bindings.meter_of(_NAME, client)
    fields = _fields(args[1], kwargs.get("json"))
    if meter is not None and fields:
        http.follow(meter, _NAME, fields, response)


def _fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException, *, place: int = 1) -> None:
    """Report a failed request. For streams, the path comes after the class and the method."""
    meter = bindings.meter_of(_NAME, client)
    fields = _fields(args[place], kwargs.get("json"))
    if meter is not None and fields:
        failed(meter, fields, error)


def _ask_budgets(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, place: int = 1) -> Found | None:
    meter = limited(_NAME, client)
    body = kwargs.get("json")
    fields = None if meter is None else _fields(args[place], body)
    if meter is None or not fields:
        return None
    options = body.get("options") if isinstance(body, Mapping) else None
    asked = asked_in(fields, body)
    return meter, asked if asked.max_output == 0 else asked._replace(max_output=count(options, "num_predict"))


def _shown() -> Callable[[Any], bytes]:
    """Return the fields of a stream's parts that the scanner needs: that the first one arrived, and the usage in the last one."""
    is_first = True

    def show(part: Any) -> bytes:
        nonlocal is_first
        if getattr(part, "done", None):
            return json.dumps({name: getattr(part, name, None) for name in _LAST}).encode() + b"\n"
        if is_first:
            is_first = False
            return b'{"done": false}\n'
        return b""

    return show


def _recorder(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Recorder | None:
    """Return the recorder of a stream, whose request is made when its first part is read."""
    meter = bindings.meter_of(_NAME, client)
    fields = _fields(args[2], kwargs.get("json"))  # after the class and the method
    if meter is None or not fields:
        return None
    scanner = scanner_for(meter, _NAME, _NAME, "application/x-ndjson")
    return Recorder(meter, scanner, fields, current_call(), ticket=claim())


def _strip_headers(client: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], _result: object) -> None:
    """Remove taximeter's headers from those of a new client. Calls have no headers of their own."""
    drop_own_headers(client._client.headers)  # noqa: SLF001 - public under no other name


def _steps(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what `recorded` does with a streamed request: begin, show, fail and ask the budgets."""
    return (
        partial(_recorder, client, args, kwargs),
        _shown(),
        partial(_fail, client, args, kwargs, place=2),
        lambda *_: _ask_budgets(client, args, kwargs, place=2),
    )


def _requested(original: Any) -> Any:
    @wraps(original)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if not kwargs.get("stream"):
            return result
        return recorded(result, *_steps(self, args, kwargs), family=_NAME, part=self)

    return request


def _requested_async(original: Any) -> Any:
    @wraps(original)
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        if not kwargs.get("stream"):
            return result
        return recorded_async(result, *_steps(self, args, kwargs), family=_NAME, part=self)

    return request


def _hook_clients(module: ModuleType) -> None:
    for owner, streamed in ((module.Client, _requested), (module.AsyncClient, _requested_async)):
        after(owner, "__init__", _strip_headers)
        after(owner, "_request_raw", _look, fail=_fail, gate=_ask_budgets)
        put(owner, "_request", streamed, needs=("stream",))
        shim_public(owner)


def _owns(client: object) -> bool:
    module = sys.modules.get(_CLIENTS)
    return module is not None and isinstance(client, (module.Client, module.AsyncClient))


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(_NAME, {_CLIENTS: _hook_clients}, (_CLIENTS,), _owns, _bind_client)
