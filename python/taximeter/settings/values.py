"""Checks the value of each setting and converts it to one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..concealed import concealed
from ..errors import ConfigError
from .model import LINGER_MS, WEEK

if TYPE_CHECKING:
    from .destination import Destination

__all__ = [
    "FALSE",
    "LEDGER",
    "TRUE",
    "budget",
    "budget_state",
    "destinations",
    "families",
    "flag",
    "hosts",
    "linger_ms",
    "max_age",
    "retention",
    "tags",
    "timezone",
    "usage_hosts",
]

LEDGER: Final = "ledger"
TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off", ""})


def flag(name: str, value: Any) -> bool:
    """Return a boolean setting from a bool or a text."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in TRUE or text in FALSE:
        return text in TRUE
    raise ConfigError(f"{name}: {value!r} is neither true nor false")


def destinations(value: Any) -> tuple[bool, tuple[Destination, ...]]:
    """Return whether the ledger is among the destinations, and the remote destinations."""
    if isinstance(value, str):
        value = concealed([part.strip() for part in value.split(",") if part.strip()])
    elif not isinstance(value, (list, tuple)):
        value = [value]
    if not value:
        raise ConfigError("destination: the list is empty; give 'ledger' or a URL")
    if value == [LEDGER]:
        return True, ()
    from .destination import Destination  # noqa: PLC0415 - most users have only the ledger

    others = [one if isinstance(one, Destination) else Destination(one) for one in value if one != LEDGER]
    if len({one.place for one in others}) < len(others):
        raise ConfigError("destination: two have the same address, and would share a cursor; remove one")
    return LEDGER in value, tuple(others)


def families(value: Any) -> bool | tuple[str, ...]:
    """Return `True` for all client families, `False` for none, or their names."""
    if isinstance(value, str):
        if value.strip().lower() in TRUE | FALSE:
            return flag("instrument", value)
        return tuple(name.strip() for name in value.split(",") if name.strip())
    if isinstance(value, bool):
        return value
    if isinstance(value, Sequence):
        return tuple(str(name) for name in value)
    raise ConfigError(f"instrument: {value!r} is not True, False or names of providers")


def budget(value: Any) -> int | None:
    """Return bytes from megabytes: the most that the journal may take on disk."""
    # At least one segment; the upper bound catches typos.
    return None if value is None else _bytes("budget_mb", value, 4)


def budget_state(value: Any) -> int:
    """Return bytes from megabytes: the most that the counts of budgets may take in memory and on disk."""
    # The smallest state takes 2 MiB. A million keys take 130.
    return _bytes("budget_state_mb", 256 if value is None else value, 3)


def _bytes(name: str, value: Any, least: int) -> int:
    try:
        megabytes = float(value)
    except (TypeError, ValueError):
        megabytes = 0.0
    if not least <= megabytes <= 1_000_000:  # noqa: PLR2004 - catches typos
        raise ConfigError(f"{name}: {value!r} is not a number of megabytes from {least} to 1,000,000")
    return int(megabytes * 1024 * 1024)


def max_age(value: Any) -> float | None:
    """Return how long events may wait for a destination over HTTP, in seconds; `None` for no limit."""
    if value is None:
        return WEEK
    if value is False or str(value).strip().lower() in FALSE - {"0", ""}:
        return None
    from ..moments import seconds  # noqa: PLC0415 - what it imports takes longer than all other settings

    found = seconds(value)
    if found is None or not 60 <= found <= 100 * 366 * 86_400:  # noqa: PLR2004 - outages last longer; at most a century
        raise ConfigError(f"max_age: {value!r} is neither a time of at least 60 seconds, such as '12h' or '7d', nor False")
    return found


def retention(value: Any) -> float | None:
    """Return the age at which the ledger deletes calls, in seconds; `None` to keep them."""
    if value is None or value is False or str(value).strip().lower() in FALSE - {"0"}:
        return None
    from ..moments import seconds  # noqa: PLC0415 - see max_age

    found = seconds(value)
    if found is None or not 86_400 <= found <= 100 * 366 * 86_400:  # noqa: PLR2004 - the lower bound catches a wrong unit
        raise ConfigError(f"retention: {value!r} is neither a time of at least one day, such as '400d', nor False")
    return found


def linger_ms(value: Any) -> float:
    """Return how long events wait for others before the ledger stores them, in milliseconds."""
    if value is None:
        return LINGER_MS
    try:
        milliseconds = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        milliseconds = -1.0
    if not 0 <= milliseconds <= 60_000:  # noqa: PLR2004 - longer waits save nothing; the upper bound catches seconds given as such
        raise ConfigError(f"linger_ms: {value!r} is not a number of milliseconds from 0 to 60,000")
    return milliseconds


def timezone(value: Any) -> str:
    """Return the name of the time zone of reports; empty for the machine's."""
    if value is None:
        return ""
    from ..zones import zone  # noqa: PLC0415 - few users set one

    if not isinstance(value, str):
        raise ConfigError(f"timezone: {value!r} is not the name of a time zone; write one such as 'Europe/Paris', or 'UTC'")
    zone("timezone", value)
    return value


def tags(value: Any) -> Mapping[str, Any]:
    """Return tags by key, from a mapping or from a text such as `key=value,key=value`."""
    if value is None:
        return {}
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        return {key.strip(): text.strip() for key, _, text in pairs}
    if isinstance(value, Mapping):
        return value
    raise ConfigError(f"tags: {value!r} is neither a mapping nor a text such as 'key=value,key=value'")


def hosts(value: Any) -> Mapping[str, str]:
    """Return the providers that answer at hosts, from a mapping or from a text such as `10.0.0.5:8000=vllm`."""
    if value is None:
        return {}
    if isinstance(value, str):
        pairs = [tuple(part.strip() for part in pair.rpartition("=")[::2]) for pair in value.split(",") if pair.strip()]
    elif isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        raise ConfigError(f"hosts: {value!r} is neither a mapping nor a text such as '10.0.0.5:8000=vllm'")
    for host, provider in pairs:
        if not isinstance(provider, str) or not provider.strip():
            raise ConfigError(
                f'hosts: {host!r} has no provider; write {{ "10.0.0.5:8000" = "vllm" }}, or "openai" for a gateway to it'
            )
    return {_host("hosts", host): provider.strip() for host, provider in pairs}


def usage_hosts(value: Any) -> tuple[str, ...]:
    """Return the hosts whose streams are asked for their usage, from a sequence or from a text with commas."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError(f"usage_hosts: {value!r} is neither a list of hosts nor a text such as '10.0.0.5:8000'")
    return tuple(_host("usage_hosts", host) for host in value)


def _host(setting: str, value: Any) -> str:
    """Return a host, with its port if one is given. A URL is read as its host."""
    text = str(value).strip().lower().partition("://")
    # A URL may have a user's name and password.
    host = (text[2] or text[0]).partition("/")[0].rpartition("@")[2]
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"  # an IPv6 address without a port
    if not isinstance(value, str) or not host or any(character.isspace() for character in host):
        raise ConfigError(f"{setting}: {value!r} is not a host such as '10.0.0.5:8000'")
    return host
