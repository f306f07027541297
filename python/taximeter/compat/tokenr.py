"""The interface of `tokenr`: calls of OpenAI's and Anthropic's clients for Tokenr, the ledger, or both.

tokenr.init(token="your-tokenr-token", agent_id="my-app")
tokenr.track("custom-provider", "custom-model-v1", 1000, 500, feature_name="translation")

Nothing here raises, blocks or is lost: an event is on disk when its call returns, and sent in the background until Tokenr has it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from .. import _default, instrument
from ..settings.destination import Secret
from ._outbox import Account, Outbox, Service
from ._vendor.destinations import Destinations, record
from ._vendor.events import plain_tags, usage_of
from ._vendor.providers import TO_TOKENR

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["configure", "init", "track"]

__version__ = "0.1.3"

log = logging.getLogger("taximeter")

_PREFIX: Final = "tokenr_"
_FAMILIES: Final = ("openai", "anthropic")
_ALIASES: Final = {"agent_id": "default_agent_id", "tags": "default_tags"}
"""What `init` calls settings that `configure` knows by another name."""
_MAX_TOKENS: Final = 1_000_000_000_000
"""What is more is no count; see `taximeter.track`."""
_SECONDS_BETWEEN_LINES: Final = 0.05
_SECONDS_BETWEEN_WARNINGS: Final = 60.0

_warned = float("-inf")


class _Config(dict[str, Any]):
    """The settings, whose token shows only to who asks for it."""

    def __repr__(self) -> str:
        return repr({name: Secret("") if name == "token" and value else value for name, value in self.items()})


_config: _Config = _Config(
    token=None,
    url="https://tokenr.co/api/v1/track",
    enabled=True,
    # Seconds. The original's two lost what a slow service had taken; nobody waits for these.
    timeout=30,
    debug=False,
    default_agent_id=None,
    default_tags={},
)
_original_methods: Final[dict[Any, bool]] = {}
"""Empty: nothing is replaced but once, by `taximeter.instrument`."""

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
    """Track the calls of OpenAI's and Anthropic's clients from here on. Called again, it changes the settings.

    The keywords `tokenr_agent_id`, `tokenr_feature`, `tokenr_team_id` and `tokenr_tags` are taken out of their calls from here on,
    whether anything is tracked or not.

    Args:
        token: The token; `TOKENR_TOKEN` by default. Without one nothing goes to Tokenr.
        url: Where events go; `TOKENR_URL` by default.
        agent_id: The agent of events that name none.
        tags: Tags of every event; those of a call come before them.
        enabled: Whether anything is tracked.
        debug: Print what becomes of events.
        destination: Where events go: `"tokenr"`, which is the default, `"ledger"`, or both.
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
        _current_outbox()  # so that it can take over what was left
    if not debug:
        return
    atexit.unregister(_last_lines)
    atexit.register(_last_lines)
    if _config["token"]:
        print("[Tokenr] Initialized with token: ***")
    elif _destinations.to_vendor:
        print("[Tokenr] Warning: No API token provided. Set TOKENR_TOKEN or pass token to init()")


def configure(**settings: Any) -> None:
    """Change settings: `token`, `url`, `enabled`, `timeout`, `debug`, `agent_id`, `tags`.

    What was tracked before goes where it was to.

    One that does not exist is left out, with a warning.
    """
    for name, value in settings.items():
        known = _ALIASES.get(name, name)
        if known in _config:
            _config[known] = value
        else:
            log.warning("tokenr.configure: %s is not a setting; there are %s", name, ", ".join(_config))


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
    """Track a call that was made otherwise. Never raises: what cannot be an event is counted, and warned about once a minute.

    Args:
        provider, model: Who answered.
        input_tokens: Input tokens that were neither read from a cache nor written to one.
        output_tokens: Output tokens.
        agent_id: The agent; that of `init` by default.
        feature_name, team_id: What and whom it was for.
        status: `"success"` or `"error"`.
        latency_ms: How long it took, in milliseconds.
        tags: What else it is to be told apart by.
        requested_at: When it was made, ISO 8601; now by default.
        cache_read_tokens, cache_write_tokens: Cached tokens, which are not among the input tokens.
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
        _warn(error)


def _warn(error: Exception) -> None:
    """Says once in a while what keeps events from being kept at all."""
    global _warned  # noqa: PLW0603 - see _init
    now = time.monotonic()
    if now - _warned >= _SECONDS_BETWEEN_WARNINGS:
        _warned = now
        log.warning("tokenr cannot track a call: %s", error)


def _body(
    provider: Any, model: Any, input_tokens: Any, output_tokens: Any, read: Any, written: Any,
    agent: Any, feature: Any, team: Any, status: Any, latency_ms: Any, tags: Any, requested_at: Any,
) -> dict[str, Any]:  # fmt: skip
    """A request's body, in the wire's order and without what is not said."""
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
    if tags or _config["default_tags"]:
        body["tags"] = {**_mapping(_config["default_tags"]), **_mapping(tags)}
    body["requested_at"] = requested_at or datetime.now(timezone.utc).isoformat()
    return body


def _mapping(tags: Any) -> Mapping[str, Any]:
    """Tags; what is no mapping has none."""
    return tags if isinstance(tags, Mapping) else {}


def _send(body: dict[str, Any]) -> None:
    """Records the request, if it is one."""
    outbox = _current_outbox()
    for name in ("provider", "model"):
        if not isinstance(body[name], str) or not body[name]:
            outbox.count_remark(f"missing_{name}", name)
            return
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        count = body.get(name, 0)
        if type(count) is not int or not 0 <= count <= _MAX_TOKENS:
            outbox.count_remark("invalid_usage", name)
            return
    try:
        outbox.post("", body)
    except (ValueError, TypeError):
        # The call counts, whatever somebody took for a text of it: a UUID, a time, tags of any kind.
        odd = [name for name, value in body.items() if not isinstance(value, (str, int))]
        outbox.count_remark("invalid_text", ", ".join(odd))
        outbox.post("", {name: value if name not in odd else str(value) for name, value in body.items() if name != "tags"})
    if _config["debug"]:
        _printer.wake(outbox)


def _service(token: str, url: str, timeout: Any, debug: bool) -> Service:
    return Service("tokenr", url, token, {"authorization": "Bearer {key}"}, timeout=timeout, keeps_answers=debug)


_account: Final = Account(_service)


def _current_outbox() -> Outbox:
    """That of the account in force."""
    return _account.outbox(_config["token"], _config["url"], _config["timeout"], bool(_config["debug"]))


def _event(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as an event: here the input includes what is cached."""
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
    """Sends the calls of clients."""

    @property
    def is_active(self) -> bool:
        return bool(_config["enabled"] and (_destinations.to_ledger or _config["token"]))

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:  # noqa: ARG002
        return _default.ledger_meter() if _destinations.to_ledger else None

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
                # Whoever serves it, as Tokenr has it.
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
    """Prints what became of events while some are on their way, for those who asked for it.

    The delivery thread knows nothing of Python, so its answers are looked for, from a thread that is there only then.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def wake(self, outbox: Outbox) -> None:
        """Sees to it that the answer to what was just given is printed."""
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


def _last_lines() -> None:
    """What is left to print when the program ends."""
    if _config["debug"] and _config["token"]:
        outbox = _current_outbox()
        outbox.flush(2.0)
        _print_answers(outbox)
