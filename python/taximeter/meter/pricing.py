"""The part of a meter that prices calls and manages the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import _core as core
    from ..catalog.merge import Merged
    from ..ledger import Repricing, Where
    from ..moments import Moment
    from ..types import Time
    from .engine import Engine

__all__ = ["Pricing"]


class Pricing:
    """The part of a meter that prices calls and manages the catalog."""

    _engine: Engine

    def price(
        self,
        model: str,
        usage: Any,
        provider: str | None = None,
        at: Time | None = None,
        service_tier: str | None = None,
        batch: bool = False,  # noqa: FBT002 - positional for convenience
        region: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> core.Cost:
        """Return what a call costs, without recording anything.

        Args:
            model: The model, as requested or as in the response; `provider/model` works, too.
            usage: Counts by unit name (`input_tokens` includes cached tokens), or a provider's usage object.
            provider: The provider, if the model's name does not identify it.
            at: The time whose rates apply, from 2015 to 2100: an aware datetime, a date, an ISO 8601 text (in UTC without a zone)
                or seconds since 1970. Now, by default.
            service_tier: The tier that served the call, such as `"flex"` or `"priority"`.
            batch: Whether the call ran through a batch endpoint.
            region: The region that served the call; `"global"` for Bedrock's worldwide routing.
            context: Further conditions of the catalog, such as `{"speed": "fast"}`.

        Returns:
            The cost. `usd` is `None` if the price is unknown, never 0.

        Raises:
            UsageError: A count is invalid. The message names it.
            ValueError: The model is empty or the time is invalid.
            ConfigError: The settings cannot be read. They may contain your own prices.
        """
        self._engine.settled()
        known = self._engine.core.price(model, usage, provider, at, service_tier, batch, region, context, None)
        if known is not None:
            return known
        from ..errors import UsageError  # noqa: PLC0415 - not needed for track()
        from .usage import normalize  # noqa: PLC0415

        counts, reported = normalize(usage, provider=provider)
        cost = self._engine.core.price(model, counts, provider, at, service_tier, batch, region, context, reported)
        if cost is None:
            raise UsageError("usage must be counts by unit name")
        return cost

    def reprice(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
        dry_run: bool = False,
    ) -> Repricing:
        """Price the ledger's calls again, with the current prices at the rates of each call's time.

        Stored costs never change in another way. The replaced costs stay in the ledger's table `repricings`. A cost reported by the
        provider stays in force, and the computed cost beside it is updated. A price that became unknown does not replace a cost.

        Args:
            since, until, where: Which calls, as for `Ledger.report`.
            dry_run: Only report what would change.

        Returns:
            How many calls were examined, and the changes for each model.

        Raises:
            LedgerError: The ledger cannot be read or written.
            ValueError: A filter is invalid. The message names it.
        """
        from ..ledger import Repricing, RepricingRow, Selection  # noqa: PLC0415 - see price
        from ..zones import zone  # noqa: PLC0415

        settings = self._engine.settled()
        chosen = Selection.of(since, until, where, zone("timezone", settings.timezone))
        examined, rows = self._engine.core.reprice(settings.ledger, *chosen, dry_run)
        return Repricing(examined, tuple(RepricingRow(*row) for row in rows))

    @property
    def catalog(self) -> str:
        """The price catalog's name, made of its source and version."""
        self._engine.settled()
        return self._engine.core.catalog

    @property
    def catalog_as_of(self) -> str:
        """The date of its rates, such as `2026-11-22`."""
        self._engine.settled()
        return self._engine.core.catalog_as_of

    def models(self) -> Sequence[tuple[str, str, bool, str]]:
        """Return every entry of the price catalogs in use: provider, model, whether it is retired, and the catalog."""
        self._engine.settled()
        return self._engine.core.models()

    def update_catalog(self, source: str | None = None, *, accept: Iterable[str] = ()) -> Merged | None:
        """Download the price catalog, merge it into the last one, and put it in force.

        Args:
            source: The URL or path of a catalog or of data of genai-prices; by default the one from the settings.
            accept: Entries, as `provider/model`, whose rates may change by any amount.

        Returns:
            The changes; `None` if the source has nothing new.

        Raises:
            CatalogError: The source could not be read, or was rejected. The old catalog stays in force.
        """
        return self._engine.update_catalog(source, accept=accept)

    def preview_catalog(self, source: str | None = None, *, accept: Iterable[str] = ()) -> Merged:
        """Return what `update_catalog` would change, without writing it or putting it in force.

        Raises:
            CatalogError: As for `update_catalog`.
        """
        from ..catalog.update import preview  # noqa: PLC0415 - see price

        settings = self._engine.settled()
        return preview(settings.catalog, settings.prices.source if source is None else source, accept=accept)
