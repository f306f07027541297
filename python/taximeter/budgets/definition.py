"""The definition of a budget: `taximeter.Budget`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import ConfigError
from . import checks
from .periods import boundaries

if TYPE_CHECKING:
    from decimal import Decimal

    from .standing import Standing

__all__ = ["FIELDS", "Budget", "from_core", "from_mapping"]

_HOLD_SECONDS: Final = 900
_MAX_HOLD_SECONDS: Final = 31 * 86_400


class Budget:
    """A limit on what calls use in a period, for all threads and processes of a state directory; see `docs/budgets.md`.

    A call is admitted only if what is used, what calls in flight hold, and its own estimate fit in the amount.

        taximeter.init(budgets=[taximeter.Budget("customer-day", usd="10", per="day", tz="Europe/Paris", by="customer")])

    Args:
        name: Its name, 1 to 64 of the characters a-z, 0-9, - and _. Definitions of one name in a state directory are one budget.
        usd: The amount in US dollars: a text, a `Decimal` or an int, never a float. Give one of `usd`, `tokens` and `calls`.
        tokens: The amount in tokens, input and output together.
        calls: The amount in calls.
        limits: Other amounts for some keys: `{"acme": "500", "trial-*": "1"}`. The longest match applies.
        per: The period: `hour`, `day`, `week`, `month` or `total`.
        rolling: Instead of `per`: the last so many seconds, or a text such as `"24h"`; from a minute to 31 days.
        tz: The time zone of the period, an IANA name; UTC by default.
        starts: When the period begins: `"06:00"` of days, `"mon"` of weeks, 1 to 31 of months (the last day of shorter ones).
        by: What each has its own amount: `agent`, `feature`, `team`, `customer`, `user`, `session`, `provider`, `model`, `tag:KEY`.
        absent: What happens to a call without a value of `by`: `count` it under the empty value, `skip` it, or `block` it.
        where: The calls it applies to, by the same dimensions: a value, a list of values, or a beginning such as `"trial-*"`.
        action: `block` calls that do not fit, or only `warn`.
        admit: `fits` admits a call whose estimate fits, `room` a call for which anything is left.
        estimate: `max` is the most that a call can take, `typical` what calls like it took.
        unpriced: What happens to a call without a known price: `allow` it, `block` it, or charge this many US dollars.
        unavailable: What happens to calls while the counts cannot be read: `allow` or `block`.
        cancelled: What a call that ends early is charged: its `input`, or nothing (`release`).
        crashed: What a call of a killed process is charged: nothing (`release`), or its `input`.
        hold_timeout: After what time a call in flight is charged its input, in seconds or as `"15m"`.
        cut: Whether a stream is closed once it has used what was held for it and all that is left; `BudgetExceeded` is raised then.
        warn_at: The parts of the amount that are warned about, besides the whole: `(0.8, 0.95)`.
        on_threshold: Called with a `Standing` when a threshold is crossed, in the thread whose call crosses it.
        webhook: A URL that gets a POST request with JSON when a threshold is crossed.
        share: The part of the amount that this host may use, where several hosts share it: `0.25`.

    Raises:
        ConfigError: A field is invalid. The message names it, the rule and the remedy.
    """

    __slots__ = ("_fields", "_source", "_webhook", "name", "on_threshold")

    def __init__(
        self,
        name: str,
        *,
        usd: str | int | Decimal | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        limits: Mapping[str, str | int | Decimal] | None = None,
        per: Literal["hour", "day", "week", "month", "total"] | None = None,
        rolling: str | float | None = None,
        tz: str | None = None,
        starts: str | int | None = None,
        by: str | Sequence[str] = (),
        absent: Literal["count", "skip", "block"] = "count",
        where: Mapping[str, str | Sequence[str]] | None = None,
        action: Literal["block", "warn"] = "block",
        admit: Literal["fits", "room"] = "fits",
        estimate: Literal["max", "typical"] = "max",
        unpriced: str | int | Decimal = "allow",
        unavailable: Literal["allow", "block"] = "allow",
        cancelled: Literal["input", "release"] = "input",
        crashed: Literal["release", "input"] = "release",
        hold_timeout: str | float = _HOLD_SECONDS,
        cut: bool = False,
        warn_at: float | str | Sequence[float | str | Decimal] = (0.8,),
        on_threshold: Callable[[Standing], object] | None = None,
        webhook: str | None = None,
        share: float | str | Decimal = 1,
    ) -> None:
        try:
            self.name = checks.name(name)
            self._webhook = checks.Url(webhook)
            del webhook  # error trackers record local variables, and it may hold a key
            given = {"usd": usd, "tokens": tokens, "calls": calls}
            unit = checks.unit(given)
            period, self._source = checks.period(per, rolling, tz, starts)
            keys = checks.by(by)
            self._fields: dict[str, Any] = {
                "name": self.name,
                "unit": unit,
                "amount": checks.amount(unit, given[unit]),
                "limits": checks.limits(unit, limits, has_keys=bool(keys)),
                "period": period,
                "period_source": self._source,
                "by": keys,
                "absent": checks.choice("absent", absent, ("count", "skip", "block")),
                "where": checks.where(where),
                "action": checks.choice("action", action, ("block", "warn")),
                "admit": checks.choice("admit", admit, ("fits", "room")),
                "estimate": checks.choice("estimate", estimate, ("max", "typical")),
                "unpriced": checks.unpriced(unit, unpriced),
                "unavailable": checks.choice("unavailable", unavailable, ("allow", "block")),
                "cancelled": checks.choice("cancelled", cancelled, ("input", "release")),
                "crashed": checks.choice("crashed", crashed, ("release", "input")),
                "hold_timeout": checks.duration("hold_timeout", hold_timeout, 1, _MAX_HOLD_SECONDS),
                "warn_at": checks.thresholds(warn_at),
                "share": checks.fraction("share", share, 1),
                "cut": checks.switch("cut", cut),
            }
            self.on_threshold = checks.callback("on_threshold", on_threshold)
        except checks.FieldError as error:
            raise ConfigError(f"budget {checks.shown(name)}: {error}") from None

    def to_core(self, now: float | None = None) -> dict[str, Any]:
        """Return the definition in the form that the core takes, with the boundaries of its periods.

        Args:
            now: Seconds since 1970; the current time by default.
        """
        period = self._fields["period"]
        if self._source is not None:
            period = {**period, "boundaries": boundaries(self._source, time.time() if now is None else now)}
        return {**self._fields, "period": period, "webhook": self._webhook.reveal()}

    @property
    def webhook(self) -> str | None:
        """The URL that is called at thresholds. It may hold a key, so do not show it."""
        return self._webhook.reveal()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Budget) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self.name)

    def _compared(self) -> tuple[Any, ...]:
        return self._fields, self._webhook.reveal(), self.on_threshold

    def __repr__(self) -> str:
        # The webhook may hold a key.
        unit = self._fields["unit"]
        when = self._source["per"] if self._source else self._fields["period"].get("seconds", "total")
        keys = f", by={self._fields['by']}" if self._fields["by"] else ""
        return f"Budget({self.name!r}, {unit}={self._fields['amount']!r}, per={when!r}{keys})"


FIELDS: Final = tuple(Budget.__init__.__kwdefaults__ or ())
"""The keywords of `Budget`, which are the keys of a table `[[budgets]]` besides `name`."""


def from_core(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `Budget` for a definition in the form of the core, without its name."""
    source, period = definition["period_source"], definition["period"]
    when = source or ({"rolling": period["seconds"]} if period["kind"] == "rolling" else {"per": "total"})
    same = {name: value for name, value in definition.items() if name in FIELDS}
    return {**same, **when, definition["unit"]: definition["amount"], "limits": dict(definition["limits"])}


def from_mapping(table: Any) -> Budget:
    """Return the budget of a table of the settings file, or of JSON.

    Raises:
        ConfigError: A field is unknown, missing or invalid.
    """
    if isinstance(table, Budget):
        return table
    if not isinstance(table, Mapping):
        raise ConfigError(f"budgets: {checks.shown(table)} is neither a Budget nor a mapping with its fields")
    fields = dict(table)
    name = fields.pop("name", None)
    if name is None:
        raise ConfigError('budgets: a budget has no name; add one, such as name="customer-day"')
    known = {*FIELDS} - {"on_threshold"}
    for field in fields:
        if field not in known:
            from ..fields import unknown_name  # noqa: PLC0415 - only for a misspelt name

            raise ConfigError(f"budget {checks.shown(name)}: {unknown_name(str(field), known)}")
    return Budget(name, **fields)
