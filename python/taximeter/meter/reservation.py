"""A reserved call: the user's code makes it after its budgets have admitted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..budgets.admission import admit, scope_of
from ..budgets.gate import how_ended

if TYPE_CHECKING:
    from decimal import Decimal
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from .. import _core
    from ..budgets.admission import Estimate
    from ..fields import TrackFields
    from .engine import Engine

__all__ = ["Reservation"]


class Reservation:
    """Room in the budgets for one call; see `Meter.reserve`."""

    __slots__ = ("_engine", "_estimate", "_fields", "_ticket")

    def __init__(self, engine: Engine, fields: dict[str, Any], estimate: Estimate) -> None:
        self._engine = engine
        self._fields = fields
        self._estimate = estimate
        self._ticket: _core.Ticket | None = None

    @property
    def estimated_usd(self) -> Decimal | None:
        """What is held for the call; `None` if no budget counts it, or if its price is unknown."""
        return None if self._ticket is None else self._ticket.estimated_usd

    def track(self, **fields: Unpack[TrackFields]) -> _core.Receipt:
        """Record the call, which charges what it used in place of what is held. Takes what `track` takes.

        Provider, model and attribution are those of the reservation unless they are given.

        Raises:
            TypeError: A field is unknown. The message has the most similar known name.
        """
        from ..fields import TRACK, check_names  # noqa: PLC0415 - see Meter.measure

        check_names("track", fields, TRACK)
        return self._engine.budgets.track(self._ticket, **{**self._fields, **fields})

    def release(self) -> None:
        """End the reservation of a call that was not made. Nothing is charged."""
        self._end("failed")

    def _end(self, how: Any) -> None:
        if self._ticket is not None and not self._ticket.is_settled:
            self._ticket.end(how)

    def __enter__(self) -> Self:
        """Hold the estimate.

        Raises:
            BudgetExceeded: The call does not fit in a budget.
            BudgetUnavailable: The counts of a budget with `unavailable="block"` cannot be read.
        """
        self._engine.settled()
        fields = self._fields
        self._ticket = admit(self._engine.budgets, scope_of(fields), fields["provider"], fields["model"], **self._estimate)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Without an exception, the call was made, and its event is missing.
        self._end("cancelled" if error is None else how_ended(error))

    def __repr__(self) -> str:
        return (
            f"Reservation(provider={self._fields['provider']!r}, model={self._fields['model']!r}, estimated_usd={self.estimated_usd})"
        )
