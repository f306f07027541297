"""What a meter needs to know, settled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ConfigError
from ..fields import AttributionFields

if TYPE_CHECKING:
    from pathlib import Path

    from .destination import Destination

__all__ = ["HOMELESS", "KNOWN", "PROJECT", "WEEK", "InitSettings", "MeterSettings", "Prices", "Settings", "check_names"]

WEEK: Final = 7 * 86_400.0
"""A collector that drops repeated events by id is expected to remember them for this long."""
HOMELESS: Final = "this user has no home directory; set TAXIMETER_STATE_DIR, or give init() a state_dir"
PROJECT: Final = "pyproject.toml"


class CommonSettings(AttributionFields, total=False):
    """What `init` and `Meter` both take, beside a destination. Each can come from the environment and from a file as well."""

    state_dir: str | os.PathLike[str] | None
    durability: str | None
    enabled: bool | None
    debug: bool | None
    keep_provider_usage: bool | None
    backend: str | None
    budget_mb: float | None
    max_age: float | str | None
    prices: Mapping[str, Any] | str | os.PathLike[str] | None


class MeterSettings(CommonSettings, total=False):
    """The keywords of `Meter`."""

    destination: str | Destination | Sequence[str | Destination] | None


class InitSettings(CommonSettings, total=False):
    """The keywords of `init`, beside the destination."""

    instrument: bool | Sequence[str] | None


KNOWN: Final = frozenset(MeterSettings.__annotations__) | frozenset(InitSettings.__annotations__)
"""The names of all settings."""


def check_names(function: str, given: Mapping[str, Any], known: type) -> None:
    """Refuses keywords that a function does not have.

    Raises:
        TypeError: There is one.
    """
    if unknown := sorted(given.keys() - known.__annotations__.keys()):
        names = ", ".join(sorted({*known.__annotations__, "destination"}))
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}; there are {names}")


class Prices(NamedTuple):
    """What the user says of prices, and whether they are kept up to date."""

    overrides: str = ""
    """Rates, multipliers and aliases, as the core reads them (see `src/pricing/overrides.rs`); empty for none."""
    long_tail: bool = False
    """Whether providers that the catalog lacks are priced from litellm's table."""
    refresh: float | None = None
    """Seconds between downloads of the catalog; `None` for never."""
    source: str | None = None
    """Where it is downloaded from; `None` for the public data of genai-prices."""


class Settings(NamedTuple):
    """Everything a meter needs to know."""

    root: str
    """The state directory's path; empty where this user has no home and none was given."""
    enabled: bool = True
    debug: bool = False
    keep_provider_usage: bool = False
    instrument: bool | tuple[str, ...] = True
    backend: str = "mapped"
    budget: int | None = None
    """Most bytes of the journal on disk; `None` lets the disk decide."""
    max_age: float | None = WEEK
    """Seconds that events may wait for a destination over HTTP; `None` for ever."""
    uses_ledger: bool = True
    destinations: tuple[Destination, ...] = ()
    """Where events go over HTTP."""
    attribution: Mapping[str, Any] = MappingProxyType({})
    tags: Mapping[str, Any] = MappingProxyType({})
    prices: Prices = Prices()

    def inside(self, *names: str) -> str:
        """The path of a file in the state directory."""
        return os.path.join(self.root, *names)

    @property
    def state_dir(self) -> Path:
        """The directory of journals and the ledger.

        Raises:
            ConfigError: The user has no home directory, and no state_dir is set.
        """
        return self._path()

    def _path(self, *names: str) -> Path:
        # `init()` does without: its import takes as long as half of what else that does.
        from pathlib import Path  # noqa: PLC0415

        if not self.root:
            raise ConfigError(f"state_dir: {HOMELESS}")
        return Path(self.root, *names)

    @property
    def catalog(self) -> Path:
        """The file of the last catalog that was downloaded, if there is one."""
        return self._path("prices", "catalog.json")

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self._path("ledger.db")
