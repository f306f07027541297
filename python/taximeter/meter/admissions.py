"""The part of a meter that asks budgets before a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..budgets.admission import ReserveFields
    from ..budgets.standing import Standing
    from ..fields import AttributionFields
    from .engine import Engine
    from .reservation import Reservation

__all__ = ["Admissions"]


class Admissions:
    """The part of a meter that asks budgets before a call."""

    _engine: Engine

    def check(
        self, *, provider: str | None = None, model: str | None = None, **fields: Unpack[AttributionFields]
    ) -> tuple[Standing, ...]:
        """Return what is used of the budgets for which a call would count, without holding anything.

            for standing in taximeter.check(customer="acme"):
                print(standing.budget, standing.left, standing.resets_at)

        Args:
            provider: The provider of the call.
            model: The model of the call.
            **fields: The attribution of the call, over the one in force; see `attribute`.

        Returns:
            One standing for each budget, also for those that are used up; empty if no budget counts such a call.

        Raises:
            BudgetUnavailable: The counts cannot be read.
            TypeError: A field is unknown. The message has the most similar known name.
        """
        from ..budgets.admission import scope_of  # noqa: PLC0415 - as the settings, see Engine.configure
        from ..budgets.standing import standing_of  # noqa: PLC0415
        from ..errors import BudgetUnavailable  # noqa: PLC0415
        from ..fields import ATTRIBUTION, TAGS, check_names  # noqa: PLC0415

        check_names("check", fields, (*ATTRIBUTION, TAGS))
        self._engine.settled()
        try:
            found = self._engine.budgets.standings(scope_of(fields), provider, model)
        except OSError as error:
            why = error.strerror or str(error)
            raise BudgetUnavailable(f"the counts of budgets cannot be read: {why}", budget="", reason=why) from None
        return tuple(standing_of(one) for one in found)

    def reserve(self, *, provider: str, model: str, **fields: Unpack[ReserveFields]) -> Reservation:
        """Hold room in the budgets for one call that you make yourself.

            with taximeter.reserve(provider="openai", model="gpt-4o", input_tokens=1200, max_output_tokens=500) as reserved:
                response = ...
                reserved.track(input_tokens=response.input_tokens, output_tokens=response.output_tokens)

        A block that ends without `track` is charged as a call without an end: what each budget's `cancelled` says, or nothing if an
        exception shows that the call was refused.

        Args:
            provider: The provider that is called.
            model: The model that is called.
            **fields: `request`, or `input_tokens`; `max_output_tokens`, `choices`, `service_tier`, `region`, `caching`; and the
                attribution of the call, see `attribute`.

        Returns:
            A context manager. It holds the room from the beginning of its block on.

        Raises:
            TypeError: A field is unknown. The message has the most similar known name.
        """
        from ..budgets.admission import ReserveFields  # noqa: PLC0415 - see check
        from ..fields import ATTRIBUTION, TAGS, check_names  # noqa: PLC0415
        from .reservation import Reservation  # noqa: PLC0415

        check_names("reserve", fields, ReserveFields.__annotations__)
        own: dict[str, Any] = {name: value for name, value in fields.items() if name in {*ATTRIBUTION, TAGS}}
        estimate: Any = {name: value for name, value in fields.items() if name not in own}
        own |= {name: estimate[name] for name in ("service_tier", "region") if name in estimate}
        return Reservation(self._engine, {"provider": provider, "model": model, **own}, estimate)
