"""What a meter does with prices: what a call costs, and which catalog is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from .. import _core as core
    from ..catalog.background import Schedule
    from ..catalog.document import Document
    from ..catalog.merge import Merged
    from ..ledger import Repricing
    from ..moments import Moment
    from ..settings import Settings

__all__ = ["Pricing"]


class Pricing:
    """The part of a meter that is about prices."""

    settings: Settings | None
    """The settings in force; `None` before they were needed."""
    _core: core.Meter

    def configure(self, arguments: Mapping[str, Any]) -> Settings:
        """Settle the settings; see `Meter`."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Read the settings, in case prices are asked for before the first event."""
        if self.settings is None:
            self.configure({})

    def price(
        self,
        model: str,
        usage: Any,
        provider: str | None = None,
        at: datetime | float | None = None,
        service_tier: str | None = None,
        batch: bool = False,  # noqa: FBT002 - the order in which people ask
        region: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> core.Cost:
        """What a call costs, without recording anything.

        Args:
            model: The model, as requested or as answered; `provider/model` works too.
            usage: Counts by unit name (`input_tokens` is the total, cached tokens included), or a provider's usage object.
            provider: The provider; the model's name tells without it, where it can.
            at: When the call began: an aware datetime or seconds since 1970. Now, by default.
            service_tier: The tier that served it, such as `"flex"` or `"priority"`.
            batch: Whether it ran through a batch endpoint.
            region: The region that served it; `"global"` for Bedrock's worldwide routing.
            context: Further conditions of the catalog, such as `{"speed": "fast"}`.

        Returns:
            The cost. `usd` is `None` where no price is known, never 0.

        Raises:
            UsageError: A count breaks its rule; the message names it.
            ValueError: The model is empty or the time is invalid.
            ConfigError: The settings, which may hold prices of your own, cannot be read.
        """
        self._settle()
        known = self._core.price(model, usage, provider, at, service_tier, batch, region, context, None)
        if known is not None:
            return known
        from ..errors import UsageError  # noqa: PLC0415 - hosts that only track never need them
        from .usage import normalize  # noqa: PLC0415

        counts, reported = normalize(usage, provider=provider)
        cost = self._core.price(model, counts, provider, at, service_tier, batch, region, context, reported)
        if cost is None:
            raise UsageError("usage must be counts by unit name")
        return cost

    def reprice(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
        dry_run: bool = False,
    ) -> Repricing:
        """Price the ledger's calls anew, by the prices in force now, at the rates of the time of each call.

        Stored costs never change otherwise. The figures that are replaced stay in the ledger's table `repricings`. What a provider
        reported stays what counts; the computed figure beside it is renewed. A price that is not known any more replaces none.

        Args:
            since, until, where: Which calls, as in `Ledger.report`.
            dry_run: Only say what would change.

        Raises:
            LedgerError: The ledger cannot be read or written.
            ValueError: A filter is invalid; the message names it.
        """
        from ..ledger import Repricing, RepricingRow, equal  # noqa: PLC0415 - see price
        from ..moments import unix_ns  # noqa: PLC0415

        settings = self.settings or self.configure({})
        period = unix_ns("since", since), unix_ns("until", until)
        examined, rows = self._core.reprice(settings.ledger, *period, equal(where), dry_run)
        return Repricing(examined, tuple(RepricingRow(*row) for row in rows))

    @property
    def catalog(self) -> str:
        """The price catalog's name: its source and version."""
        self._settle()
        return self._core.catalog

    @property
    def catalog_as_of(self) -> str:
        """The day its rates were taken, such as `2026-11-22`."""
        self._settle()
        return self._core.catalog_as_of

    def models(self) -> Sequence[tuple[str, str, bool, str]]:
        """Every entry of the price catalogs in use: provider, model, whether it is retired, and the catalog."""
        self._settle()
        return self._core.models()

    def catalog_document(self) -> Document:
        """The last catalog that was downloaded, or the one this version was built with."""
        from ..catalog.store import current  # noqa: PLC0415 - few look at the catalog

        return current((self.settings or self.configure({})).catalog)

    def set_catalog(self, text: str) -> None:
        """Price with another catalog from here on; calls that are being priced end with the old one.

        Args:
            text: The catalog as JSON, see `taximeter.catalog`.

        Raises:
            CatalogError: The text is no catalog. The old one stays in force.
        """
        self._core.set_catalog(text)

    def update_catalog(self, source: str | None = None, *, accept: Iterable[str] = ()) -> Merged | None:
        """Download the price catalog, merge it into the last one, and put it in force.

        Args:
            source: A URL or a path of a catalog, or of the public data of genai-prices; by default that of the settings.
            accept: Entries, as `provider/model`, whose rates may move however far.

        Returns:
            What changed; `None` when the source has nothing new.

        Raises:
            CatalogError: It could not be read, or must not be believed. The old catalog stays in force.
        """
        from ..catalog.update import update  # noqa: PLC0415 - see catalog_document

        settings = self.settings or self.configure({})
        chosen = settings.prices.source if source is None else source
        return update(settings.catalog, chosen, self._put_in_force, accept=accept)

    def preview_catalog(self, source: str | None = None, *, accept: Iterable[str] = ()) -> Merged:
        """What `update_catalog` would change. Nothing is written or put in force.

        Raises:
            CatalogError: As `update_catalog`.
        """
        from ..catalog.update import preview  # noqa: PLC0415 - see catalog_document

        settings = self.settings or self.configure({})
        return preview(settings.catalog, settings.prices.source if source is None else source, accept=accept)

    def _put_in_force(self, document: Document) -> None:
        from ..catalog.document import render  # noqa: PLC0415 - see catalog_document

        if self.catalog != f"{document['source']}-{document['version']}":
            self.set_catalog(render(document))

    def refresh_schedule(self) -> Schedule | None:
        """How often the settings want the price catalog updated; `None` for never."""
        from ..catalog.background import Schedule  # noqa: PLC0415 - see catalog_document

        settings = self.settings
        if settings is None or not settings.enabled or settings.prices.refresh is None:
            return None
        return Schedule(settings.catalog, settings.prices.refresh)
