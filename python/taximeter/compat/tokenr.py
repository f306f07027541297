"""The interface of `tokenr`: calls of OpenAI's and Anthropic's clients go to Tokenr, the ledger, or both.

tokenr.init(token="your-tokenr-token", agent_id="my-app")
tokenr.track("custom-provider", "custom-model-v1", 1000, 500, feature_name="translation")

Nothing here raises, blocks or loses events: an event is on disk when its call returns, and is sent until Tokenr accepts it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from .. import _default, instrument
from ..settings.destination import Secret
from ._outbox import Account, Outbox, Service
from ._vendor.clock import now_as_text
from ._vendor.destinations import Destinations, record
from ._vendor.events import plain_tags, usage_of
from ._vendor.providers import TO_TOKENR
from ._vendor.transport import dumps

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["__version__", "configure", "init", "track"]

__version__ = "0.1.3"

log = logging.getLogger("taximeter")

_PREFIX: Final = "tokenr_"
_FAMILIES: Final = ("openai", "anthropic")
_ALIASES: Final = {"agent_id": "default_agent_id", "tags": "default_tags"}
"""Settings that `init` and `configure` know by different names."""
_COUNTS: Final = 4
"""The first positional arguments of `track`, which are the same in every version."""
_LATER_ORDER: Final = (
    "cache_read_tokens", "cache_write_tokens", "agent_id", "feature_name", "team_id", "status", "latency_ms", "tags", "requested_at",
)  # fmt: skip
"""The positional arguments after them in 0.1.2 and later."""
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_MAX_TOKENS: Final = 1_000_000_000_000
"""Larger counts are rejected as implausible, as in `taximeter.track`."""
_SECONDS_BETWEEN_LINES: Final = 0.05
_SECONDS_BETWEEN_WARNINGS: Final = 60.0

_Arguments = ParamSpec("_Arguments")

_warned = float("-inf")


class _Config(dict[str, Any]):
    """The settings. `repr` hides the token."""

    def __repr__(self) -> str:
        return repr({name: Secret("") if name == "token" and value else value for name, value in self.items()})


_config: _Config = _Config(
    token=None,
    url="https://tokenr.co/api/v1/track",
    enabled=True,
    # In seconds. The original's 2 lost events that a slow service had already stored. Callers do not wait for this timeout.
    timeout=30,
    debug=False,
    default_agent_id=None,
    default_tags={},
)
_original_methods: Final[dict[Any, bool]] = {}
"""Always empty, because only `taximeter.instrument` patches clients. Kept for compatibility."""

_destinations = Destinations("tokenr", None)


def init(
    token: str | None = None,
    url: str | None = None,
    agent_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    enabled: bool = True,  # noqa: FBT002 - the interface's
    debug: bool = False,  # noqa: FBT002
    *,
    destination: str | Sequence[str] | None = None,
) -> None:
    """Track the calls of OpenAI's and Anthropic's clients from now on. A second call changes the settings.

    From now on, the keywords `tokenr_agent_id`, `tokenr_feature`, `tokenr_team_id` and `tokenr_tags` are removed from their calls,
    whether tracking is enabled or not.

    Args:
        token: The token; `TOKENR_TOKEN` by default. Without one, nothing goes to Tokenr.
        url: The URL for events; `TOKENR_URL` by default.
        agent_id: The default agent of events.
        tags: Default tags of events. The tags of a call override them.
        enabled: Whether calls are tracked.
        debug: Print what happens to events.
        destination: Where events go: `"tokenr"` (the default), `"ledger"`, or both.
    """
    try:
        instrument.subscribe(_observer, _FAMILIES, _PREFIX)
        _init(token, url, agent_id, tags, enabled, debug, destination)
    except Exception as error:
        log.warning("tokenr.init: %s", error)


def _init(token: str | None, url: str | None, agent: str | None, tags: Any, enabled: Any, debug: Any, destination: Any) -> None:
    global _destinations  # noqa: PLW0603 - the module is the client
    _destinations = Destinations("tokenr", destination)
    _config.update(
        token=token or os.environ.get("TOKENR_TOKEN"),
        url=url or os.environ.get("TOKENR_URL") or _config["url"],
        enabled=enabled,
        debug=debug,
        default_agent_id=agent,
        default_tags=tags or {},
    )
    if _config["token"] and _destinations.to_vendor:
        _current_outbox()  # creates the outbox, so that take_over() can use it
    if not debug:
        return
    atexit.unregister(_print_at_exit)
    atexit.register(_print_at_exit)
    if _config["token"]:
        print("[Tokenr] Initialized with token: ***")
    elif _destinations.to_vendor:
        print("[Tokenr] Warning: No API token provided. Set TOKENR_TOKEN or pass token to init()")


def configure(**settings: Any) -> None:
    """Change settings: `token`, `url`, `enabled`, `timeout`, `debug`, `agent_id`, `tags`.

    Events that were already tracked keep their destination. An unknown setting is ignored with a warning.
    """
    for name, value in settings.items():
        known = _ALIASES.get(name, name)
        if known in _config:
            _config[known] = value
        else:
            log.warning("tokenr.configure: %s is not a setting; there are %s", name, ", ".join(_config))


def _in_either_order(track: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Return a function that also takes the positional arguments of 0.1.2 and later, where two counts come before the agent."""

    @functools.wraps(track)
    def taking(*args: _Arguments.args, **fields: _Arguments.kwargs) -> None:
        if len(args) > _COUNTS and type(args[_COUNTS]) in (int, float):
            named = dict(zip(_LATER_ORDER, args[_COUNTS:], strict=False))
            if len(args) > _COUNTS + len(_LATER_ORDER) or not named.keys().isdisjoint(fields):
                raise TypeError("track() got too many positional arguments, or one of them by name as well")
            track(*args[:_COUNTS], **named, **fields)  # type: ignore[arg-type] # the signature is checked here
            return
        track(*args, **fields)

    return taking


@_in_either_order
def track(
    provider: str,
    model: str,
    input_tokens: int,
    output_tokens: int,
    agent_id: str | None = None,
    feature_name: str | None = None,
    team_id: str | None = None,
    status: str = "success",
    latency_ms: int | None = None,
    tags: Mapping[str, Any] | None = None,
    requested_at: str | None = None,
    *,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
) -> None:
    """Track a call that was made without an instrumented client. Never raises: invalid events are counted, with a warning a minute.

    Args:
        provider, model: The provider and the model that responded.
        input_tokens: Input tokens that were neither read from a cache nor written to one.
        output_tokens: Output tokens.
        agent_id: The agent; by default that of `init`.
        feature_name, team_id: The feature and the team of the call.
        status: `"success"` or `"error"`.
        latency_ms: The duration of the call in milliseconds.
        tags: Further data about the call.
        requested_at: The time of the call in ISO 8601; by default now.
        cache_read_tokens, cache_write_tokens: Cached tokens, which `input_tokens` does not include. Positional arguments may have the
            order of 0.1.2 and later, where these follow `output_tokens`: a number there is a count, not an agent.
    """
    if not _config["enabled"]:
        return
    try:
        body = _body(
            provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
            agent_id, feature_name, team_id, status, latency_ms, tags, requested_at,
        )  # fmt: skip
        if _destinations.to_ledger:
            record(lambda: _event(body))
        if _destinations.to_vendor and _config["token"]:
            _send(body)
    except Exception as error:
        _warn("cannot track a call", error)


def _warn(what: str, why: object) -> None:
    """Log what cannot be tracked, at most once a minute."""
    global _warned  # noqa: PLW0603 - see _init
    now = time.monotonic()
    if now - _warned >= _SECONDS_BETWEEN_WARNINGS:
        _warned = now
        log.warning("tokenr %s: %s", what, why)


def _body(
    provider: Any, model: Any, input_tokens: Any, output_tokens: Any, read: Any, written: Any,
    agent: Any, feature: Any, team: Any, status: Any, latency_ms: Any, tags: Any, requested_at: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the body of a request, with its fields in Tokenr's order and without absent ones."""
    body = {"provider": provider, "model": model, "input_tokens": input_tokens, "output_tokens": output_tokens}
    if read:
        body["cache_read_tokens"] = read
    if written:
        body["cache_write_tokens"] = written
    if agent := agent or _config["default_agent_id"]:
        body["agent_id"] = agent
    if feature is not None:
        body["feature_name"] = feature
    if team is not None:
        body["team_id"] = team
    if status is not None:
        body["status"] = status
    if latency_ms is not None:
        body["latency_ms"] = latency_ms
    defaults = _config["default_tags"]
    if type(tags) is dict and tags and not defaults:
        body["tags"] = tags
    elif tags or defaults:
        body["tags"] = {**_mapping(defaults), **_mapping(tags)}
    body["requested_at"] = requested_at or now_as_text()
    return body


def _mapping(tags: Any) -> Mapping[str, Any]:
    """Return the tags; empty if they are not a mapping, with a warning."""
    if isinstance(tags, Mapping):
        return tags
    if tags is not None:
        _warn("leaves out tags", f"they must be a mapping, not {type(tags).__name__}")
    return {}


def _send(body: dict[str, Any]) -> None:
    """Record the request if it is valid. Otherwise it is counted."""
    outbox = _current_outbox()
    if fault := _fault_of(body):
        outbox.count_remark(*fault)
        return
    try:
        outbox.post("", body)
    except (ValueError, TypeError):
        outbox.post("", _sendable(body, outbox))
    if _config["debug"]:
        _printer.wake(outbox)


def _fault_of(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the remark about an invalid request and the field's name; `None` if it is valid."""
    provider, model = body["provider"], body["model"]
    if not isinstance(provider, str) or not provider:
        return "missing_provider", "provider"
    if not isinstance(model, str) or not model:
        return "missing_model", "model"
    for name in _TOKENS:
        count = body.get(name, 0)
        if type(count) is not int or not 0 <= count <= _MAX_TOKENS:
            return "invalid_usage", name
    return None


def _sendable(body: Mapping[str, Any], outbox: Outbox) -> dict[str, Any]:
    """Return a request without the tags that JSON cannot express, and with texts in place of other such values, such as UUIDs."""
    tags = body.get("tags", {})
    kept = {name: value for name, value in tags.items() if isinstance(name, str) and _is_json(value)}
    odd = [name for name, value in body.items() if name != "tags" and not _is_json(value)]
    outbox.count_remark("invalid_text", ", ".join([*odd, *(f"tags.{name}" for name in tags if name not in kept)]))
    found = {name: str(value) if name in odd else value for name, value in body.items() if name != "tags"}
    return {**found, "tags": kept} if kept else found


def _is_json(value: Any) -> bool:
    try:
        dumps(value)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _service(token: str, url: str, timeout: Any, debug: bool) -> Service:
    return Service("tokenr", url, token, {"authorization": "Bearer {key}"}, timeout=timeout, keeps_answers=debug)


_account: Final = Account(_service)


def _current_outbox() -> Outbox:
    """Return the outbox of the current account."""
    return _account.outbox(_config["token"], _config["url"], _config["timeout"], bool(_config["debug"]))


def _event(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a request to an event, whose input tokens include cached ones."""
    cached = [body.get(name, 0) for name in ("cache_read_tokens", "cache_write_tokens")]
    tags = body.get("tags", {})
    return {
        "provider": body["provider"],
        "model": body["model"],
        "input_tokens": body["input_tokens"] + sum(cached),
        "output_tokens": body["output_tokens"],
        "cache_read_tokens": cached[0],
        "cache_write_tokens": cached[1],
        "agent": body.get("agent_id"),
        "feature": body.get("feature_name"),
        "team": body.get("team_id"),
        "status": body.get("status"),
        "latency_ms": body.get("latency_ms"),
        "tags": plain_tags(tags),
        "started_at": _moment(body["requested_at"]),
    }


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class _Observer:
    """Sends the clients' calls to Tokenr."""

    @property
    def is_active(self) -> bool:
        return bool(_config["enabled"] and (_destinations.to_ledger or _config["token"]))

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:  # noqa: ARG002
        return _default.ledger_meter() if _destinations.to_ledger else None

    def budgets_meter(self) -> Meter:
        return _default.default_meter

    def defaults(self) -> Mapping[str, Any]:
        return {"agent": _config["default_agent_id"], "tags": _mapping(_config["default_tags"])}

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        names = {"agent": "tokenr_agent_id", "feature": "tokenr_feature", "team": "tokenr_team_id"}
        return {**{ours: own.get(theirs) for ours, theirs in names.items()}, "tags": _mapping(own.get("tokenr_tags"))}

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:
        if not _config["token"] or not _destinations.to_vendor:
            return
        usage = usage_of(event, _current_outbox(), str(event["model"]))
        if usage is None:
            return
        read, written = usage.get("cache_read_tokens", 0), usage.get("cache_write_tokens", 0)
        latency = event.get("latency_ms")
        _send(
            _body(
                # Anthropic's client counts as provider `anthropic`, even if another provider serves the model. Tokenr expects this.
                family if family == "anthropic" else TO_TOKENR.get(event["provider"], event["provider"]),
                event["model"],
                max(usage.get("input_tokens", 0) - read - written, 0),
                usage.get("output_tokens", 0),
                read,
                written,
                own.get("tokenr_agent_id"),
                own.get("tokenr_feature"),
                own.get("tokenr_team_id"),
                event.get("status") or "success",
                None if latency is None else int(latency),
                own.get("tokenr_tags"),
                datetime.fromtimestamp(event.get("started_at") or time.time(), timezone.utc).isoformat(),
            )
        )


_observer = _Observer()


class _Printer:
    """Prints the results of events while some are pending, if `debug` is set.

    The delivery thread cannot call Python, so a thread polls for results. It only runs while events are pending.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def wake(self, outbox: Outbox) -> None:
        """Make sure that the result of the latest event will be printed."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, args=(outbox,), name="tokenr-debug", daemon=True)
            self._thread.start()

    def _run(self, outbox: Outbox) -> None:
        while True:
            time.sleep(_SECONDS_BETWEEN_LINES)
            is_over = outbox.pending == 0
            _print_answers(outbox)
            if is_over:
                return


_printer = _Printer()


def _print_answers(outbox: Outbox) -> None:
    for request, status, answer in outbox.answers():
        text = answer.decode("utf-8", "replace")
        if status is None:
            print(f"[Tokenr] Failed to track: {text}")
        elif status // 100 == 2:  # noqa: PLR2004 - success
            print(f"[Tokenr] Tracked: {json.loads(request).get('model')} - ${_cost(text)}")
        else:
            print(f"[Tokenr] Error: {status} - {text}")


def _cost(text: str) -> Any:
    try:
        return json.loads(text).get("cost", 0)
    except (ValueError, AttributeError):
        return 0


def _print_at_exit() -> None:
    """Print the remaining results when the program ends."""
    if _config["debug"] and _config["token"]:
        outbox = _current_outbox()
        with contextlib.suppress(KeyboardInterrupt):
            outbox.flush(2.0)
        _print_answers(outbox)
