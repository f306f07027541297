"""langchain's chat models, recorded from their own usage reports if no metered client makes the request."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ... import attribution
from ...budgets.gate import Held
from ...locks import ForkSafeLock
from .. import bindings, layers
from ..bindings import Family
from ..failures import is_failure
from ..gates import Found, admitted, asked_in, limited, settle
from ..guard import check_signature, name_of, run_guarded
from ..layers import Claim
from ..recorder import scanner_for

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "langchain_core"
_HOOKS: Final = "langchain_core.tracers.context"
_NAMES: Final = {"provider": "ls_provider", "model": "ls_model_name"}
"""Langchain's names of a model in the metadata of its calls."""
_MAX_RUNS: Final = 10_000
"""The most runs followed at once. The oldest are dropped, because some may never end."""


class _Shared(Claim):
    """A claim that several runs share."""

    __slots__ = ("runs",)

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.runs = 0


class _Run:
    """One call of a model."""

    __slots__ = ("_claim", "_held", "_ids", "_metadata", "_meter", "_scope", "_started", "_started_at")

    def __init__(self, meter: Engine, metadata: Mapping[str, Any]) -> None:
        # That of the beginning: another handler's observer of this run may have ended before the run does.
        self._meter = meter
        # For several prompts at once, all runs begin before the first request. They share one claim.
        current = layers.current()
        self._claim = current if isinstance(current, _Shared) and current.runs else _Shared(_NAME)
        self._claim.runs += 1
        self._metadata = metadata
        self._held: Held | None = None
        self._ids: dict[str, Any] = {"call_id": os.urandom(8).hex(), **attribution.active_span()}
        self._scope = attribution.current()
        self._started_at, self._started = time.time(), time.perf_counter()

    @property
    def _named(self) -> dict[str, str]:
        """The provider and the model, by langchain's names."""
        return {name: str(self._metadata.get(theirs) or "unknown") for name, theirs in _NAMES.items()}

    def ask(self, prompts: Any, parameters: Mapping[str, Any]) -> None:
        """Ask the budgets. The clients below get the ticket.

        Raises:
            BudgetExceeded: A budget has no room for the call.
            BudgetUnavailable: The counts of a budget that blocks then cannot be read.
        """

        def find(_run: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> Found | None:
            meter = limited(_NAME, None)
            return None if meter is None else (meter, asked_in(self._named, {**parameters, "messages": prompts}))

        try:
            self._held = admitted(find, self, (), {}, where="langchain", family=_NAME)
        except BaseException:
            # The other prompts of the call are not sent either.
            for held in self._claim.held:
                held.drop()
            layers.restore(self._claim.outer)
            raise
        if self._held is not None:
            self._held.leave()
            self._claim.held += (self._held,)

    def step_out(self) -> None:
        """End the claim in this context, because the run has made its request."""
        if layers.current() is self._claim:
            layers.restore(self._claim.outer)

    def end(self, answer: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """Record the event, unless a client below has recorded the call."""
        meter = self._meter
        self._claim.runs -= 1
        if not self._claim.runs:
            self.step_out()
        held = self._held
        if held is not None:
            # The prompts of one call may have used each other's.
            self._claim.held = tuple(one for one in self._claim.held if one is not held)
            if error is not None:
                held.failed(error)
            elif self._claim.is_taken or answer is None:
                held.drop()
        if self._claim.is_taken or (answer is None and (error is None or not is_failure(error))):
            return
        if self._claim.outer is not None:
            self._claim.outer.take()
        provider, asked = self._named.values()
        # A call that failed before its first part has no answer.
        answer = answer or {"wire": "langchain", "usage": None, "model": None, "finish_reason": None}
        scanner = scanner_for(meter, answer["wire"], provider, "application/json")
        scanner.feed(json.dumps({"usage": answer["usage"]}, default=str).encode())
        found: Mapping[str, Any] = scanner.finish() or {}
        model = answer["model"] or asked
        if error is None and (gap := found.get("gap")):
            meter.count_remark(gap, f"{provider}/{model}")
        attribution.enter(self, self._scope)
        try:
            event = {
                "provider": provider,
                "model": model,
                "usage": found.get("usage"),
                "usage_status": found.get("usage_status"),
                "finish_reason": answer["finish_reason"],
                "started_at": self._started_at,
                "latency_ms": (time.perf_counter() - self._started) * 1000,
                "error": error,
                "provider_usage": found.get("provider_usage"),
                **self._ids,
            }
            settle(meter, None if held is None else held.claim(), event)
        finally:
            attribution.leave(self)


def _begun(metadata: Mapping[str, Any]) -> _Run | None:
    meter = bindings.meter_of(_NAME, None)
    return None if meter is None else _Run(meter, metadata)


class _Runs:
    """The runs that have begun but not ended."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._runs: dict[Any, _Run] = {}

    def begin(self, run_id: Any, metadata: Mapping[str, Any] | None, prompts: Any, parameters: Mapping[str, Any] | None) -> None:
        run = run_guarded(_begun, metadata or {}, family=_NAME)
        if run is None:
            return
        run.ask(prompts, parameters or {})
        with self._lock:
            self._runs[run_id] = run
            if len(self._runs) > _MAX_RUNS:
                del self._runs[next(iter(self._runs))]

    def answered(self, run_id: Any) -> None:
        if (run := self._runs.get(run_id)) is not None:
            run.step_out()

    def end(self, run_id: Any, response: Any, error: BaseException | None) -> None:
        with self._lock:
            run = self._runs.pop(run_id, None)
        if run is not None:
            run.end(_answer(response), error)


def _answer(response: Any) -> dict[str, Any] | None:
    """Return the usage and metadata of a result; `None` if it came from a cache or has no generation."""
    generations = getattr(response, "generations", None) or [[]]
    generation = next(iter(generations[0]), None)
    message = getattr(generation, "message", None)
    usage = getattr(message, "usage_metadata", None)
    output = getattr(response, "llm_output", None) or {}
    if generation is None or (usage is not None and usage.get("total_cost") == 0):
        return None
    details = {**(getattr(generation, "generation_info", None) or {}), **(getattr(message, "response_metadata", None) or {})}
    return {
        "wire": "langchain" if usage is not None else "openai",
        "usage": usage if usage is not None else output.get("token_usage"),
        "model": details.get("model_name") or details.get("model") or output.get("model_name"),
        "finish_reason": details.get("finish_reason") or details.get("stop_reason"),
    }


@functools.cache
def _handler() -> Any:
    """Return a handler for langchain's callbacks. Its class must derive from langchain's."""
    base = sys.modules["langchain_core.callbacks.base"]
    runs = _Runs()

    class Handler(base.BaseCallbackHandler):  # type: ignore[name-defined,misc]
        # Runs in the context of the call, also for awaited calls.
        run_inline = True
        ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

        def __reduce__(self) -> Any:
            return _handler, ()

        # Only budgets raise.
        raise_error = True

        def on_llm_start(
            self, _serialized: Any, prompts: Any, *, run_id: Any, metadata: Any = None, invocation_params: Any = None, **_: Any
        ) -> None:
            runs.begin(run_id, metadata, prompts, invocation_params)

        on_chat_model_start = on_llm_start

        def on_llm_new_token(self, *_args: Any, run_id: Any, **_: Any) -> None:
            run_guarded(runs.answered, run_id, family=_NAME)

        def on_llm_end(self, response: Any, *, run_id: Any, **_: Any) -> None:
            run_guarded(runs.end, run_id, response, None, family=_NAME)

        def on_llm_error(self, error: BaseException, *, run_id: Any, response: Any = None, **_: Any) -> None:
            run_guarded(runs.end, run_id, response, error, family=_NAME)

    return Handler()


def _hook(module: ModuleType) -> None:
    check_signature(module.register_configure_hook, ("context_var", "inheritable"), name_of(module, "register_configure_hook"))
    # As a default, so that it applies in every existing and future context.
    everywhere = _handler()
    module.register_configure_hook(ContextVar("taximeter_langchain", default=everywhere), inheritable=True)


def _owns(_client: object) -> bool:
    # langchain has callbacks, and no client objects.
    return False


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(_NAME, {_HOOKS: _hook}, (_HOOKS,), _owns, _bind_client, distribution="langchain-core")
