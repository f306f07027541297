"""`taximeter.budget`: a limit on what the calls of a block or a function use, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .. import _core, attribution
from ..errors import ConfigError
from . import checks
from .standing import Standing, standing_of

if TYPE_CHECKING:
    from decimal import Decimal
    from types import TracebackType

__all__ = ["Run", "budget"]

P = ParamSpec("P")
R = TypeVar("R")


class Run:
    """One run of a block or a function with a budget."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.RunBudget) -> None:
        self._core = core

    @property
    def standing(self) -> Standing:
        """The limit, what is charged and held, and what is left, at this moment."""
        return standing_of(self._core.standing())

    @property
    def used(self) -> Decimal | int:
        """What is charged so far."""
        return self.standing.used

    @property
    def left(self) -> Decimal | int:
        """What another call may take. A block around this one may have less."""
        return self.standing.left

    def __repr__(self) -> str:
        now = self.standing
        return f"Run(unit={now.unit!r}, amount={now.amount}, used={now.used}, held={now.held})"


class _Within:
    """The scope of one call of a function."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.RunBudget) -> None:
        self._core = core

    def __enter__(self) -> None:
        attribution.enter(self, self._core.scope(attribution.current()))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        attribution.leave(self)


class budget:  # noqa: N801 - used as a function
    """Limits what the calls of a block or a function use. A call that does not fit raises `BudgetExceeded`.

    The limit is in memory and holds for the calls of this context: asyncio tasks and `asyncio.to_thread` have it; for executors see
    `bind`. Blocks nest: a call has to fit in all of them, so an inner block never gets more than what is left of the outer one. As a
    decorator, it gives each call of the function a limit of its own.

        with taximeter.budget(usd="0.50") as run:
            ...
        print(run.used)

        @taximeter.budget(tokens=50_000)
        async def answer(question): ...

    Args:
        usd: US dollars: a text, a `Decimal` or an int, never a float. Give one of `usd`, `tokens` and `calls`.
        tokens: Tokens, input and output together.
        calls: Calls.
        name: The budget's name in errors.

    Raises:
        ConfigError: The amount is invalid. The message says why.
    """

    __slots__ = ("_amount", "_name")

    def __init__(
        self, *, usd: str | int | Decimal | None = None, tokens: int | None = None, calls: int | None = None, name: str = "run"
    ) -> None:
        try:
            self._name = checks.name(name)
            given = {"usd": usd, "tokens": tokens, "calls": calls}
            unit = checks.unit(given)
            amount = checks.amount(unit, given[unit])
        except checks.FieldError as error:
            raise ConfigError(f"taximeter.budget: {error}") from None
        self._amount: dict[str, Any] = {unit: amount if unit == "usd" else int(amount)}

    def _begin(self) -> _core.RunBudget:
        return _core.RunBudget(**self._amount, name=self._name)

    def __enter__(self) -> Run:
        core = self._begin()
        # Entered by this object, not by the run, so that the end of the block finds it whichever context it ends in.
        attribution.enter(self, core.scope(attribution.current()))
        return Run(core)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        attribution.leave(self)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function, so that each of its calls has a limit of its own. Supports the same functions as `attribute`."""
        return attribution.within(lambda: _Within(self._begin()), function)

    def __repr__(self) -> str:
        ((unit, amount),) = self._amount.items()
        return f"budget({unit}={amount!r})"
