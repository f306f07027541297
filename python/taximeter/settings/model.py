"""The resolved settings of a meter, and the keywords that set them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ConfigError
from ..fields import AttributionFields, check_names

if TYPE_CHECKING:
    from pathlib import Path

    from ..budgets.definition import Budget
    from ..types import Backend
    from .destination import Destination

__all__ = [
    "COUNTERS",
    "FAILED_CLIENTS", "KNOWN", "LINGER_MS", "NO_HOME", "PROJECT", "UNKNOWN_HOSTS", "WEEK", "InitSettings", "MeterSettings", "Prices",
    "Settings", "check_settings",
]  # fmt: skip

WEEK: Final = 7 * 86_400.0
"""Seconds that an event waits for a destination by default. Collectors are expected to remember event ids for this long."""
LINGER_MS: Final = 250.0
"""Four transactions a second cost little processor time, and `taximeter tail` still shows an event within half a second."""
COUNTERS: Final = "counters.json"
"""The file in the state directory with the sums of the counts of processes that ended."""
UNKNOWN_HOSTS: Final = "unknown-hosts.tsv"
"""The file in the state directory that lists hosts without a known provider, the vendor whose prices they have, and when."""
FAILED_CLIENTS: Final = "failed-clients.tsv"
"""The file in the state directory that lists clients that could not be metered: the family, its version, the reason, and when."""
NO_HOME: Final = "this user has no home directory; set TAXIMETER_STATE_DIR, or pass state_dir to init()"
PROJECT: Final = "pyproject.toml"


class CommonSettings(AttributionFields, total=False):
    """The keywords that both `init` and `Meter` take, except the destination. The environment and a file can set them as well."""

    state_dir: str | os.PathLike[str] | None
    enabled: bool | None
    debug: bool | None
    keep_provider_usage: bool | None
    backend: Backend | None
    budget_mb: float | None
    budget_state_mb: float | None
    max_age: float | str | None
    linger_ms: float | None
    retention: float | str | None
    timezone: str | None
    prices: Mapping[str, Any] | str | os.PathLike[str] | None
    budgets: Sequence[Budget | Mapping[str, Any]] | str | os.PathLike[str] | None
    hosts: Mapping[str, str] | str | None
    usage_hosts: Sequence[str] | str | None


class MeterSettings(CommonSettings, total=False):
    """The keywords of `Meter`."""

    destination: str | Destination | Sequence[str | Destination] | None


class InitSettings(CommonSettings, total=False):
    """The keywords of `init`, except the destination."""

    instrument: bool | Sequence[str] | None


KNOWN: Final = frozenset(MeterSettings.__annotations__) | frozenset(InitSettings.__annotations__)
"""The names of all settings."""


def check_settings(function: str, given: Mapping[str, Any], known: type) -> None:
    """Reject keywords that a function does not take.

    Raises:
        TypeError: A keyword is unknown. The message has the most similar known name.
    """
    check_names(function, given, {*known.__annotations__, "destination"})


class Prices(NamedTuple):
    """The user's prices, and how the catalog is updated."""

    overrides: str = ""
    """Rates, multipliers and aliases in the form that the core reads (`src/pricing/overrides.rs`); empty if the user sets none."""
    long_tail: bool = False
    """Whether litellm's table prices the providers that the catalog lacks."""
    refresh: float | None = None
    """Seconds between updates of the catalog; `None` for no updates."""
    source: str | None = None
    """The URL or path of the catalog; `None` for the public data of genai-prices."""


class Settings(NamedTuple):
    """All settings of a meter."""

    root: str
    """The path of the state directory; empty if none was given and the user has no home directory."""
    enabled: bool = True
    debug: bool = False
    keep_provider_usage: bool = False
    instrument: bool | tuple[str, ...] = True
    backend: str = "mapped"
    budget: int | None = None
    """The most bytes of the journal on disk; `None` derives a limit from the free space."""
    budget_state: int = 256 << 20
    """The most bytes of the counts of budgets."""
    max_age: float | None = WEEK
    """How long events may wait for a destination over HTTP, in seconds; `None` for no limit."""
    linger_ms: float = LINGER_MS
    retention: float | None = None
    """How long events wait for others, so that one transaction of the ledger stores them, in milliseconds."""
    timezone: str = ""
    """The time zone of reports; empty for the machine's."""
    uses_ledger: bool = True
    destinations: tuple[Destination, ...] = ()
    """The remote destinations."""
    attribution: Mapping[str, Any] = MappingProxyType({})
    tags: Mapping[str, Any] = MappingProxyType({})
    prices: Prices = Prices()
    budgets: tuple[Budget, ...] = ()
    """The budgets of these settings. Those of other programs with the same state directory are in force, too."""
    hosts: Mapping[str, str] = MappingProxyType({})
    """The provider that answers at a host, by `host` or `host:port` in lower case."""
    usage_hosts: frozenset[str] = frozenset()
    """Further hosts whose streams are asked for their usage, as in `hosts`."""

    def inside(self, *names: str) -> str:
        """Return the path of a file in the state directory."""
        return os.path.join(self.root, *names)

    @property
    def state_dir(self) -> Path:
        """The directory of journals and the ledger.

        Raises:
            ConfigError: The user has no home directory, and no state_dir is set.
        """
        return self._path()

    def _path(self, *names: str) -> Path:
        # `init()` does not call this, because importing pathlib takes half as long as the rest of `init()`.
        from pathlib import Path  # noqa: PLC0415

        if not self.root:
            raise ConfigError(f"state_dir: {NO_HOME}")
        return Path(self.root, *names)

    @property
    def catalog(self) -> Path:
        """The file of the downloaded catalog, which may not exist."""
        return self._path("prices", "catalog.json")

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self._path("ledger.db")
