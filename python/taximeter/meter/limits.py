"""Puts the budgets of the settings in force, and acts when a threshold is crossed: a warning, a callback, a webhook."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..budgets.periods import boundaries
from ..budgets.refusal import with_unit
from ..budgets.standing import Standing, standing_of
from ..errors import ConfigError
from ..log import log

if TYPE_CHECKING:
    from ..budgets.definition import Budget
    from .engine import Engine

__all__ = ["Limits"]

_SECONDS_BETWEEN_RENEWALS: Final = 3_600.0
_MAX_WEBHOOKS: Final = 100
"""The most webhooks of a meter. Each has a journal and a delivery of its own."""


class Limits:
    """The budgets of one meter: what Python adds to `_core.Budgets`.

    Args:
        engine: The inside of the meter.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._callbacks: dict[str, Callable[[Standing], object]] = {}
        self._webhooks: dict[str, Engine] = {}
        self._next_renewal = time.monotonic() + _SECONDS_BETWEEN_RENEWALS

    def put_in_force(self, budgets: Sequence[Budget]) -> None:
        """Add budgets to those of the state directory, or change those with the same names.

        Raises:
            ConfigError: A budget counts other calls or has another period than the one of the same name.
        """
        self._callbacks = {budget.name: budget.on_threshold for budget in budgets if budget.on_threshold is not None}
        now = time.time()
        try:
            self._engine.budgets.set(json.dumps([budget.to_core(now) for budget in budgets]))
        except ValueError as error:
            raise ConfigError(f"budgets: {error}") from None
        except OSError as error:
            # The core has them in force in this process, so that each call is admitted or blocked as its budgets say.
            self._engine.warnings.warn("budget_unavailable", error.strerror or str(error))
        if new := [self._outbox(url) for budget in budgets if (url := budget.webhook) is not None and url not in self._webhooks]:
            # Delivery starts with the first request of this process, which can be days after one that a killed process has left.
            threading.Thread(target=_drain, args=(new,), name="taximeter-webhooks", daemon=True).start()

    def is_renewal_due(self) -> bool:
        """Return whether definitions were not looked at for an hour. The boundaries that they have reach at least 8 days further."""
        now = time.monotonic()
        if now < self._next_renewal:
            return False
        self._next_renewal = now + _SECONDS_BETWEEN_RENEWALS
        return True

    def renew(self) -> None:
        """Give definitions the boundaries of further periods, if half of those they have are over."""
        now = time.time()
        renewed = []
        for definition in json.loads(self._engine.budgets.definitions()):
            source, known = definition["period_source"], definition["period"].get("boundaries")
            if source is None or not known or known[len(known) // 2] > now:
                continue
            try:
                definition["period"]["boundaries"] = boundaries(source, now)
            except ValueError as error:
                log().warning("taximeter: budget %s: tz: %r is %s; install tzdata", definition["name"], source["tz"], error)
                continue
            renewed.append(definition)
        if renewed:
            self._engine.budgets.set(json.dumps(renewed))

    def act(self) -> None:
        """Warn about thresholds that calls of this process have crossed, and call callbacks and webhooks. Never raises."""
        self._engine.tell_of_budgets()
        crossings = self._engine.budgets.take_crossings()
        records = {crossing["record"] for crossing in crossings} - {None}
        for crossing in crossings:
            standing = standing_of(crossing)
            log().warning("taximeter: %s", _text(standing))
            if (callback := self._callbacks.get(standing.budget)) is not None:
                try:
                    callback(standing)
                except Exception as error:
                    log().debug("taximeter: on_threshold of budget %s raised", standing.budget, exc_info=True)
                    self._engine.count_remark("callback_failed", f"{standing.budget} ({type(error).__name__})")
            if crossing["webhook"]:
                try:
                    self._post(crossing, standing)
                except Exception as error:
                    # The class only: a message could hold the URL.
                    log().warning("taximeter: budget %s: its webhook cannot be called: %s", standing.budget, type(error).__name__)
                    # The next process tries it, once this one has ended.
                    records.discard(crossing["record"])
        if records:
            self._engine.budgets.reported(sorted(records))

    def _post(self, crossing: Mapping[str, Any], standing: Standing) -> None:
        self._outbox(crossing["webhook"]).core.post("", _body(crossing, standing))

    def _outbox(self, url: str) -> Engine:
        """Return the inside of the meter that delivers the requests to a webhook."""
        outbox = self._webhooks.get(url)
        if outbox is None:
            from ..settings.destination import Secret  # noqa: PLC0415 - few budgets have a webhook
            from ..settings.webhook import Webhook  # noqa: PLC0415

            if len(self._webhooks) >= _MAX_WEBHOOKS:
                raise ConfigError(f"budgets: more than {_MAX_WEBHOOKS} webhooks")
            outbox = self._webhooks[url] = self._engine.with_destination(Webhook(Secret(url)))
        return outbox

    def close(self, timeout: float) -> None:
        """Deliver the requests to webhooks, and end their delivery, within `timeout` seconds together."""
        until = time.monotonic() + timeout
        while self._webhooks:
            _, outbox = self._webhooks.popitem()
            outbox.close(until - time.monotonic())


def _drain(outboxes: Sequence[Engine]) -> None:
    """Send what killed processes have left. What cannot be sent now is sent with the next request."""
    try:
        for outbox in outboxes:
            outbox.drain_report()
    except Exception:
        log().debug("taximeter: requests of killed processes to webhooks could not be sent", exc_info=True)


def _body(crossing: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    """Return the JSON of a webhook. A receiver that gets an `id` twice can ignore the second one."""
    began = crossing["period_start"]
    return {
        "id": crossing["id"],
        "budget": standing.budget,
        "key": standing.key,
        "threshold": crossing["threshold"],
        "unit": standing.unit,
        "amount": crossing["amount"],
        "used": crossing["used"],
        "period_start": None if began is None else _utc(began),
        "resets_at": None if standing.resets_at is None else _utc(standing.resets_at.timestamp()),
    }


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _text(standing: Standing) -> str:
    """Return the warning about a crossed threshold."""
    whose = f", {standing.key[:160]!r}" if standing.key else ""
    percent = format(100 * (standing.threshold or 1), "f")
    percent = percent.rstrip("0").rstrip(".") if "." in percent else percent
    used, amount = with_unit(standing.used, standing.unit), with_unit(standing.amount, standing.unit)
    resets = "" if standing.resets_at is None else f"; it resets at {standing.resets_at:%Y-%m-%d %H:%M} UTC"
    return f"budget {standing.budget}{whose}: {percent} % reached: {used} of {amount} used{resets}"
