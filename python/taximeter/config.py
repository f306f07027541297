"""Settings: argument > environment > file > default. The only module that reads them.

`TAXIMETER_DISABLED=1` comes before everything. The environment variables are `TAXIMETER_` and the setting's name in capitals. The
file is `taximeter.toml`, or the table `[tool.taximeter]` of `pyproject.toml`, in the working directory or the nearest one above it
that has either.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _core, files
from .concealed import concealed
from .errors import CatalogError, ConfigError
from .fields import ATTRIBUTION, MOST_PLACES

if TYPE_CHECKING:
    from pathlib import Path

    from .destination import Destination

__all__ = ["ATTRIBUTION", "Prices", "Settings", "default_state_dir", "is_disabled", "resolve"]

BACKENDS: Final = ("mapped", "written", "memory")
LEDGER: Final = "ledger"
WEEK: Final = 7 * 86_400.0
"""A collector that drops repeated events by id is expected to remember them for this long."""
HOMELESS: Final = "this user has no home directory; set TAXIMETER_STATE_DIR, or give init() a state_dir"
TOO_DEEP: Final = "nested too deep"
_PROJECT: Final = "pyproject.toml"
_RULES: Final = ("rates", "multipliers", "aliases")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
_KNOWN: Final = frozenset(
    {
        *ATTRIBUTION,
        "tags",
        "destination",
        "instrument",
        "state_dir",
        "durability",
        "enabled",
        "debug",
        "keep_provider_usage",
        "backend",
        "budget_mb",
        "max_age",
        "prices",
    }
)


_first_places: dict[str, str] = {}
"""Where relative state directories lead: to the same place for the whole process."""


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


def default_state_dir(environ: Mapping[str, str] | None = None) -> str:
    """The directory for journals and the ledger: `TAXIMETER_STATE_DIR`, else the platform's own place for state."""
    environ = os.environ if environ is None else environ
    if given := environ.get("TAXIMETER_STATE_DIR"):
        return _absolute(given)
    if sys.platform == "win32":
        base = environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if base.startswith("~"):
        raise ConfigError(f"state_dir: {HOMELESS}")
    return os.path.join(base, "taximeter")


def _absolute(path: str | os.PathLike[str]) -> str:
    path = os.path.expanduser(path)
    if os.path.isabs(path):
        return os.path.abspath(path)
    # A program that changes its directory keeps the events that it has recorded where they are.
    return _first_places.setdefault(path, os.path.abspath(path))


def is_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `TAXIMETER_DISABLED` turns everything off."""
    environ = os.environ if environ is None else environ
    return _flag("TAXIMETER_DISABLED", environ.get("TAXIMETER_DISABLED", ""))


def resolve(
    arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None, start: str | os.PathLike[str] | None = None
) -> Settings:
    """Settle every setting.

    Args:
        arguments: What the caller gave, by name; `None` stands for not given.
        environ: The environment; the process's own by default.
        start: Where to look for a file first; the working directory by default.

    Raises:
        ConfigError: A setting is unknown or breaks its rule.
    """
    environ = os.environ if environ is None else environ
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("argument", {name: value for name, value in arguments.items() if value is not None}),
        ("environment", _from_environment(environ)),
        ("file", _from_file(start)),
    ]
    for source, layer in layers:
        if unknown := sorted(set(layer) - _KNOWN):
            raise ConfigError(f"{unknown[0]}: not a setting (from {source}); there are {', '.join(sorted(_KNOWN))}")

    def pick(name: str, default: Any = None) -> Any:
        return next((layer[name] for _, layer in layers if name in layer), default)

    uses_ledger, destinations = _destinations(pick("destination", LEDGER))
    durability = pick("durability", "process")
    if durability != "process":
        raise ConfigError(f"durability: {durability!r} is not available; this version has 'process'")
    backend = pick("backend", "mapped")
    if backend not in BACKENDS:
        raise ConfigError(f"backend: {backend!r} is not one of {', '.join(BACKENDS)}")
    state_dir = pick("state_dir")
    if not isinstance(state_dir, (str, os.PathLike, type(None))):
        raise ConfigError(f"state_dir: {state_dir!r} is not a path")
    try:
        root = default_state_dir(environ) if state_dir is None else _absolute(state_dir)
    except ConfigError:
        # Metering goes on in memory, and the meter warns. Code that needs the directory gets the error.
        root = ""
    return Settings(
        root=root,
        enabled=_flag("enabled", pick("enabled", True)) and not is_disabled(environ),
        debug=_flag("debug", pick("debug", False)),
        keep_provider_usage=_flag("keep_provider_usage", pick("keep_provider_usage", False)),
        instrument=_instrument(pick("instrument", True)),
        backend=backend if root else "memory",
        uses_ledger=uses_ledger,
        destinations=destinations,
        budget=_budget(pick("budget_mb")),
        max_age=_max_age(pick("max_age")),
        attribution={name: value for name in ATTRIBUTION if (value := pick(name)) is not None},
        prices=_prices([(source, layer["prices"]) for source, layer in layers if layer.get("prices") is not None]),
        tags={key: value for _, layer in reversed(layers) for key, value in _tags(layer.get("tags")).items()},
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value for name in _KNOWN if (value := environ.get(f"TAXIMETER_{name.upper()}")) is not None and value != ""
    }
    return found


def _from_file(start: str | os.PathLike[str] | None) -> Mapping[str, Any]:
    try:
        place = os.path.abspath(start or os.getcwd())
    except OSError:  # a working directory that was deleted
        return {}
    while True:
        own, project = os.path.join(place, "taximeter.toml"), os.path.join(place, _PROJECT)
        if os.path.isfile(own):
            return _beside(place, _load(own))
        if os.path.isfile(project):
            if not _mentions_us(project):
                return {}
            table = _load(project).get("tool", {}).get("taximeter")
            return _beside(place, table) if isinstance(table, Mapping) else {}
        above = os.path.dirname(place)
        if above == place:
            return {}
        place = above


def _mentions_us(project: str) -> bool:
    """Whether a project's file can have a table of ours; reading TOML takes longer than the first price."""
    try:
        return b"taximeter" in files.read(project)
    except OSError:
        return False


def _beside(place: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A file that another names is looked for beside it."""
    named = table.get("prices")
    if isinstance(named, str) and not named.strip().startswith("{"):
        return {**table, "prices": os.path.join(place, os.path.expanduser(named))}
    return table


def _load(path: str) -> Mapping[str, Any]:
    name = os.path.basename(path)
    if sys.version_info < (3, 11):
        # Python 3.10 has no TOML reader, and taximeter requires no package.
        try:
            import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            if name == _PROJECT:
                return {}
            raise ConfigError(f"{name}: Python 3.10 needs the package tomli to read it") from None
    else:
        import tomllib  # noqa: PLC0415 - most starts have no file to read

    try:
        # Rates are decimals and stay so; other settings have no fractions.
        return tomllib.loads(files.decode(files.read(path)), parse_float=_decimal)
    except (OSError, ValueError, RecursionError) as error:
        if name == _PROJECT:  # another tool's file, which that tool reports
            return {}
        why = TOO_DEEP if isinstance(error, RecursionError) else getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: {why}") from None


def _decimal(text: str) -> Any:
    from decimal import Decimal  # noqa: PLC0415 - see _core_text

    return Decimal(text)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"{name}: {value!r} is neither true nor false")


def _destinations(value: Any) -> tuple[bool, tuple[Destination, ...]]:
    """Whether the ledger is among what was given, and the others."""
    if isinstance(value, str):
        value = concealed([part.strip() for part in value.split(",") if part.strip()])
    elif not isinstance(value, (list, tuple)):
        value = [value]
    if not value:
        raise ConfigError("destination: the list is empty; name 'ledger' or a URL")
    if value == [LEDGER]:
        return True, ()
    from .destination import Destination  # noqa: PLC0415 - most have the ledger alone

    others = [one if isinstance(one, Destination) else Destination(one) for one in value if one != LEDGER]
    if len({one.place for one in others}) < len(others):
        raise ConfigError("destination: two have the same address; how far each has come could not be told apart")
    return LEDGER in value, tuple(others)


def _instrument(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, str):
        if value.strip().lower() in _TRUE | _FALSE:
            return _flag("instrument", value)
        return tuple(name.strip() for name in value.split(",") if name.strip())
    if isinstance(value, bool):
        return value
    if isinstance(value, Sequence):
        return tuple(str(name) for name in value)
    raise ConfigError(f"instrument: {value!r} is not True, False or names of providers")


def _budget(value: Any) -> int | None:
    if value is None:
        return None
    try:
        megabytes = float(value)
    except (TypeError, ValueError):
        megabytes = 0.0
    if not 4 <= megabytes <= 1_000_000:  # noqa: PLR2004 - one segment, and a bound against slips of the pen
        raise ConfigError(f"budget_mb: {value!r} is not a number of megabytes from 4 to 1,000,000")
    return int(megabytes * 1024 * 1024)


def _max_age(value: Any) -> float | None:
    if value is None:
        return WEEK
    if value is False or str(value).strip().lower() in _FALSE - {"0", ""}:
        return None
    seconds = _seconds(value)
    if seconds is None or not 60 <= seconds <= 100 * 366 * 86_400:  # noqa: PLR2004 - shorter than an outage; a century is for ever
        raise ConfigError(f"max_age: {value!r} is not a time from 60 seconds on, such as '12h' or '7d', nor False")
    return seconds


def _seconds(value: Any) -> float | None:
    """Seconds from a number, or a text such as `6h`; `None` where it is neither."""
    text = str(value).strip().lower()
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    try:
        return float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        return None


def _prices(layers: Sequence[tuple[str, Any]]) -> Prices:
    """One set of price settings from those of every source, the first of which comes first."""
    merged: dict[str, Any] = {}
    rules: dict[str, dict[str, Any]] = {}
    for source, layer in reversed(layers):
        _add_prices(merged, rules, source, layer)
    return Prices(
        overrides=_core_text(rules) if rules else "",
        long_tail=merged.get("long_tail", False),
        refresh=merged.get("refresh"),
        source=merged.get("source"),
    )


def _add_prices(merged: dict[str, Any], rules: dict[str, dict[str, Any]], layer: str, value: Any) -> None:
    """Puts the price settings of one layer over those of others; errors name it."""
    try:
        found, own = _checked_prices(_price_table(value))
    except RecursionError:
        raise ConfigError(f"prices: {TOO_DEEP} (from {layer})") from None
    except ConfigError as error:
        raise ConfigError(f"{error} (from {layer})") from None
    merged |= found
    for name, given in own.items():
        rules.setdefault(name, {}).update(given)


def _checked_prices(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings of a table, and its rules."""
    if unknown := sorted(set(table) - {*_RULES, "long_tail", "refresh", "source"}):
        raise ConfigError(f"prices: {unknown[0]!r} is not one of {', '.join(_RULES)}, long_tail, refresh, source")
    own: dict[str, dict[str, Any]] = {}
    for name in _RULES:
        given = table.get(name)
        if not isinstance(given, (Mapping, type(None))):
            raise ConfigError(f"prices: {name}: {given!r} is not a mapping")
        if given:
            own[name] = {str(key): value for key, value in given.items()}
    _core.check_overrides(_core_text(own))
    found: dict[str, Any] = {}
    if (source := table.get("source")) is not None:
        if not isinstance(source, (str, os.PathLike)):
            raise ConfigError(f"prices: source: {type(source).__name__} is neither a URL nor a path")
        from .refresh import check_source  # noqa: PLC0415 - few download

        try:
            check_source(str(source))
        except CatalogError as error:
            raise ConfigError(f"prices: source: {error}") from None
        found["source"] = str(source)
    if "long_tail" in table:
        found["long_tail"] = _flag("prices: long_tail", table["long_tail"])
    if "refresh" in table:
        found["refresh"] = _every(table["refresh"])
    return found, own


def _price_table(value: Any) -> Mapping[str, Any]:
    """Price settings from a mapping, from JSON text, or from a TOML or JSON file."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (str, os.PathLike)):
        text = str(value).removeprefix("\ufeff").strip()
        try:
            if "://" in text and not text.startswith("{"):
                raise ConfigError("prices: a URL is for prices.source; this is for a mapping, JSON or a file")
            if not text.startswith("{"):
                path = os.path.expanduser(text)
                if not path.endswith(".json"):
                    return _own_table(_load(path))
                text = files.decode(files.read(path))
            table = _from_json(text)
        except OSError as error:
            raise ConfigError(f"prices: {text}: {error.strerror}") from None
        except ValueError as error:
            raise error if isinstance(error, ConfigError) else ConfigError(f"prices: {error}") from None
        if isinstance(table, Mapping):
            return _own_table(table)
    raise ConfigError(f"prices: {type(value).__name__} is not a mapping, nor JSON, nor the path of a TOML or JSON file")


def _core_text(rules: Mapping[str, Any]) -> str:
    """Rules as the core reads them: JSON, numbers as decimal texts."""
    import json  # noqa: PLC0415 - most starts have no prices of their own, and the first price is not to wait for it

    return json.dumps(_exact(rules), sort_keys=True)


def _from_json(text: str) -> Any:
    """JSON whose decimals stay what they are: 0.1 read as a binary number is another rate."""
    import json  # noqa: PLC0415 - see _core_text
    from decimal import Decimal  # noqa: PLC0415

    return json.loads(text, parse_float=Decimal)


def _own_table(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A file of prices alone can have them under `prices`, as `taximeter.toml` does."""
    inner = table.get("prices")
    return inner if isinstance(inner, Mapping) and set(table) == {"prices"} else table


def _exact(value: Any) -> Any:
    """Numbers as decimal texts, at any depth: the core takes no others."""
    if isinstance(value, Mapping):
        return {str(key): _exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    from decimal import Decimal  # noqa: PLC0415 - see _core_text

    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = Decimal(str(value))
        # A number with more places than a rate can have is not written out: 1e99999999 would take a hundred megabytes.
        is_short = number.is_finite() and abs(number.adjusted()) <= MOST_PLACES
        return format(number, "f") if is_short else str(number)
    return value if isinstance(value, str) else str(value)


def _every(value: Any) -> float | None:
    """Seconds from a number, a text such as `6h`, or `True` for a day."""
    if value is None or value is False:
        return None
    if value is True:
        return 86_400.0
    text = str(value).strip().lower()
    if text in _FALSE:
        return None
    if text in _TRUE - {"1"}:
        return 86_400.0
    seconds = _seconds(text)
    if seconds is None or not 60 <= seconds <= 366 * 86_400:  # noqa: PLR2004 - sources are guests; a year is never
        raise ConfigError(f"prices: refresh: {value!r} is not a time from 60 seconds to a year, such as '6h' or '1d'")
    return seconds


def _tags(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        return {key.strip(): text.strip() for key, _, text in pairs}
    if isinstance(value, Mapping):
        return value
    raise ConfigError(f"tags: {value!r} is not a mapping, nor 'key=value,key=value'")
