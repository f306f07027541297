"""The Cohere client, with its v1 and v2 interfaces."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from .. import bindings, http
from ..bindings import Family
from ..call import Call, without_own_headers
from ..failures import failed
from ..gates import Found, admitted, asked_in, count, limited, status_of
from ..guard import run_guarded
from ..hosts import Address, answered_by
from ..shims import Forwarding, after, put, shim, shim_classes

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "cohere"
_CLIENTS: Final = "cohere.core.http_client"
_OPERATIONS: Final = {
    "chat": "chat",
    "generate": "text_completion",
    "embed": "embeddings",
    "rerank": "rerank",
    "classify": "classify",
}
_PARTS: Final = (
    "base_client", "raw_base_client", "v2.client", "v2.raw_client",
    *(f"{part}.{kind}" for part in ("audio.transcriptions", "batches", "connectors", "datasets", "embed_jobs", "finetuning", "models")
      for kind in ("client", "raw_client")),
)  # fmt: skip
"""The modules whose classes have public methods."""
_NEEDS: Final = ("method", "json", "headers")


def _fields(meter: Engine, url: Any, path: str, kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the known fields of a request's event; `None` if it is not metered.

    A retry is a nested call of the same method. Its response is returned through all levels, so only the outermost is recorded.
    """
    operation = _OPERATIONS.get(path.rpartition("/")[2])
    if operation is None or kwargs.get("method") != "POST" or kwargs.get("retries"):
        return None
    body = kwargs.get("json")
    # Responses do not name their model.
    model = body.get("model") if isinstance(body, Mapping) else None
    return {**answered_by(meter, url, _NAME), "model": model if isinstance(model, str) else None, "operation": operation}


def _look(client: Any, _args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
    meter = bindings.meter_of(_NAME, client)
    url = response.request.url
    if meter is not None and (fields := _fields(meter, url, url.path, kwargs)):
        http.follow(meter, _NAME, fields, response)


def _fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException) -> None:
    meter = bindings.meter_of(_NAME, client)
    path = str(args[0] if args else kwargs.get("path"))
    if meter is not None and (fields := _fields(meter, Address(client.get_base_url(kwargs.get("base_url"))), path, kwargs)):
        failed(meter, fields, error)


def _ask_budgets(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    meter = limited(_NAME, client)
    path = str(args[0] if args else kwargs.get("path"))
    if meter is None or not (fields := _fields(meter, Address(client.get_base_url(kwargs.get("base_url"))), path, kwargs)):
        return None
    body = kwargs.get("json")
    return meter, asked_in(fields, body, choices=count(body, "num_generations"))


def _strip_headers(_client: Any, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Remove taximeter's headers from every request, including those of methods without a shim."""
    for path in (("request_options", "additional_headers"), ("headers",)):
        kept, own = without_own_headers(kwargs, path)
        if own:
            kwargs.update(kept)


def _streamed(original: Any) -> Any:
    @wraps(original)
    @contextmanager
    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        run_guarded(_strip_headers, self, args, kwargs, family=_NAME)
        held = admitted(_ask_budgets, self, args, kwargs, family=_NAME)
        with ExitStack() as stack:
            try:
                response = stack.enter_context(original(self, *args, **kwargs))
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, args, kwargs, error, family=_NAME)
                raise
            run_guarded(_look, self, args, kwargs, response, family=_NAME)
            if held is not None:
                held.answered(status_of(response))
            yield response

    return stream


def _streamed_async(original: Any) -> Any:
    @wraps(original)
    @asynccontextmanager
    async def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        run_guarded(_strip_headers, self, args, kwargs, family=_NAME)
        held = admitted(_ask_budgets, self, args, kwargs, family=_NAME)
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(original(self, *args, **kwargs))
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, args, kwargs, error, family=_NAME)
                raise
            run_guarded(_look, self, args, kwargs, response, family=_NAME)
            if held is not None:
                held.answered(status_of(response))
            yield response

    return stream


def _hook_clients(module: ModuleType) -> None:
    after(module.HttpClient, "request", _look, change=_strip_headers, fail=_fail, gate=_ask_budgets, needs=_NEEDS)
    after(module.AsyncHttpClient, "request", _look, change=_strip_headers, fail=_fail, gate=_ask_budgets, needs=_NEEDS)
    put(module.HttpClient, "stream", _streamed, needs=_NEEDS)
    put(module.AsyncHttpClient, "stream", _streamed_async, needs=_NEEDS)


class _Carrying(Forwarding):
    """An executor whose threads run in the context of the code that submits work. `embed` uses it for its batches."""

    def map(self, function: Callable[..., Any], *items: Any, **options: Any) -> Any:
        context = copy_context()
        return self._inner.map(lambda *each: context.copy().run(function, *each), *items, **options)


def _carry_threads(client: Any, _call: Call) -> None:
    if not isinstance(client._executor, _Carrying):  # noqa: SLF001 - public under no other name
        client._executor = _Carrying(client._executor)  # noqa: SLF001


def _hook_first_version(module: ModuleType) -> None:
    shim(module.Client, "embed", prepare=_carry_threads)
    shim_classes(module)


def _transport(client: object) -> Any:
    """Return the object that makes a client's requests."""
    return getattr(getattr(client, "_client_wrapper", None), "httpx_client", None)


def _owns(client: object) -> bool:
    module = sys.modules.get(_CLIENTS)
    return module is not None and isinstance(_transport(client), (module.HttpClient, module.AsyncHttpClient))


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(_transport(client), meter)


FAMILY: Final = Family(
    _NAME,
    {
        _CLIENTS: _hook_clients,
        "cohere.client": _hook_first_version,
        **dict.fromkeys((f"cohere.{name}" for name in _PARTS), shim_classes),
    },
    (_CLIENTS,),
    _owns,
    _bind_client,
)
