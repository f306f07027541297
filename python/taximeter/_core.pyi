"""The types of the extension. Its Rust side is `src/py/`.

The docstrings exist only here. `build.rs` puts them into the extension, where `help()` and documentation generators find them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from os import PathLike
from typing import Any, Literal, final

from .types import AttributionValue, BudgetStats, CallStatus, CostStatus, Stats, Time, UsageStatus
from .types import Refusal as EventRefusal

__version__: str
UNITS: Mapping[str, tuple[int, tuple[str, ...]]]
"""Every unit of usage: the quantity that its rates are stated for, and its dimensions."""

@final
class Scope:
    """An attribution, including that of the scopes around it.

    Raises:
        TypeError: A value cannot be recorded as a text, or a field is unknown. The message names it.
    """
    def __new__(cls, outer: Scope | None = None, **fields: Any) -> Scope: ...
    @staticmethod
    def lenient(outer: Scope | None, fields: Mapping[str, Any]) -> tuple[Scope, list[str]]:
        """Return the scope of the fields that can be recorded, and the names of the other fields."""
    def over(self, outer: Scope) -> Scope:
        """Return this scope inside another. Fields of this one override those of the other."""
    def fields(self) -> dict[str, Any]:
        """Return the fields as `Scope` takes them: texts by name, and the mapping `tags`."""

@final
class Receipt:
    """The result of `track`. It is false if the event was not recorded."""

    @property
    def id(self) -> str:
        """The event's id, a UUID of version 7; empty if it was not recorded."""
    @property
    def cost_usd(self) -> Decimal | None:
        """The exact cost of the call; `None` if it is unknown."""
    @property
    def refused(self) -> EventRefusal | None:
        """Why the event was not recorded; `None` if it was."""
    @staticmethod
    def refusal(reason: str) -> Receipt:
        """Return a receipt of an event that was not recorded for this reason.

        Raises:
            ValueError: The reason is unknown.
        """
    def __bool__(self) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Cost:
    """The cost of a call, and how it was computed."""

    @property
    def usd(self) -> Decimal | None:
        """The total in US dollars: the reported one if the provider reports it, else the computed one; `None` if it is unknown."""
    @property
    def computed_usd(self) -> Decimal | None:
        """The total computed from the rates, even if the provider reports a cost."""
    @property
    def input_usd(self) -> Decimal | None:
        """The part of the computed total for input."""
    @property
    def output_usd(self) -> Decimal | None:
        """The part of the computed total for output."""
    @property
    def status(self) -> CostStatus:
        """`priced`, `free`, `unpriced`, `reported`, or `manual` if a rate or a multiplier of the user's applies."""
    @property
    def notes(self) -> tuple[str, ...]:
        """Limitations of the computed total, such as `region_without_rates`; `docs/pricing.md` lists them."""
    @property
    def provider(self) -> str | None:
        """The provider of the catalog entry; for a rate of the user's, the requested provider."""
    @property
    def model(self) -> str | None:
        """The id of the catalog entry, or the key of the user's rate."""
    @property
    def match(self) -> Literal["override", "exact", "pattern"] | None:
        """How the entry was found: `override`, `exact` or `pattern`."""
    @property
    def catalog(self) -> str:
        """The source and version of the catalog whose rates were used, and the user's overrides if they were used."""
    @property
    def valid_from(self) -> str | None:
        """The first day on which the rates are valid, such as `2026-07-01`; `None` if the catalog does not say."""
    @property
    def suggestions(self) -> tuple[str, ...]:
        """If the price is unknown: the most similar names of priced models, at most five, the most similar first."""
    def explain(self) -> str:
        """Return one line for each charged unit: quantity × rate = amount. If no price is known, return the most similar names."""
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Ticket:
    """What an admitted call holds in its budgets. It is settled once, by the event of the call or by `end`.

    A ticket that is dropped unsettled ends as cancelled, and is counted as abandoned.
    """

    @property
    def is_cutting(self) -> bool:
        """Whether a budget closes the stream of the call if it uses too much."""
    @property
    def is_settled(self) -> bool:
        """Whether it was settled. In a forked child, the tickets of the parent count as settled."""
    @property
    def estimated_usd(self) -> Decimal | None:
        """What the call is expected to cost at most; `None` if the price is unknown."""
    @property
    def input_tokens(self) -> int:
        """The estimated input tokens."""
    @property
    def output_tokens(self) -> int:
        """The most output tokens of all choices."""
    def end(self, how: Literal["failed", "cancelled"]) -> None:
        """Settle a call of which there is no event.

        Args:
            how: `failed` if it was never sent, or the provider refused it: nothing is charged. `cancelled` if it may have been
                sent: each budget charges what its `cancelled` says.

        Raises:
            ValueError: `how` is neither.
        """

@final
class Refusal:
    """Why a budget refuses a call."""

    @property
    def reason(self) -> Literal["exceeded", "unpriced", "absent", "unavailable", "cut"]:
        """`exceeded`: it does not fit; `cut`: a stream took too much; `unpriced`, `absent`, `unavailable`: see `taximeter.Budget`."""
    @property
    def budget(self) -> str:
        """The name of the budget."""
    @property
    def key(self) -> tuple[str, ...]:
        """The values of the budget's `by`."""
    @property
    def unit(self) -> Literal["usd", "tokens", "calls"]:
        """What the budget counts."""
    @property
    def amount(self) -> Decimal | int:
        """The most that may be used in the period."""
    @property
    def used(self) -> Decimal | int:
        """What was charged in the period."""
    @property
    def held(self) -> Decimal | int:
        """What calls in flight hold."""
    @property
    def estimate(self) -> Decimal | int:
        """What the call is expected to use at most."""
    @property
    def resets_at(self) -> float | None:
        """When the period ends, in seconds since 1970; `None` for rolling and total budgets."""
    @property
    def is_held(self) -> bool:
        """Whether the call may fit once calls in flight are settled."""
    @property
    def retry_after(self) -> float | None:
        """After how many seconds a retry may be admitted; `None` if no time helps."""
    @property
    def detail(self) -> str:
        """Why the state cannot be used, or what the call lacks; empty for `exceeded`."""

@final
class RunBudget:
    """A budget in memory for the calls of a block of code. Exactly one amount is given.

    Args:
        usd: US dollars, as a decimal text.
        tokens: Input and output tokens.
        calls: Calls.
        name: Its name in messages.

    Raises:
        ValueError: The amount is invalid, or not exactly one is given.
    """
    def __new__(
        cls, *, usd: str | None = None, tokens: int | None = None, calls: int | None = None, name: str = "run"
    ) -> RunBudget: ...
    def scope(self, outer: Scope | None) -> Scope:
        """Return the attribution `outer` with this budget. Calls in it have to fit in this budget and in those of `outer`."""
    def standing(self) -> dict[str, Any]:
        """Return what was used; see `Budgets.standings`."""

@final
class Budgets:
    """The budgets of a meter: those of its state directory, which all processes share, and those of runs.

    Args:
        meter: The meter.
    """
    def __new__(cls, meter: Meter) -> Budgets: ...
    def set(self, definitions: str) -> None:
        """Add budgets to those of the state directory, or change the amounts and policies of those with the same names.

        Args:
            definitions: A JSON list of definitions.

        Raises:
            ValueError: A definition is invalid, or counts other calls than the budget of this name. The message names the field.
            OSError: The state cannot be used.
        """
    def remove(self, name: str) -> bool:
        """Remove a budget. Returns whether there was one.

        Raises:
            ValueError: The file of definitions is invalid.
            OSError: The state cannot be used.
        """
    def definitions(self) -> str:
        """Return the definitions in force as a JSON list, also those that other processes have made.

        Raises:
            ValueError: The file of definitions is invalid.
            OSError: The state cannot be used.
        """
    @property
    def is_active(self) -> bool:
        """Whether budgets are in force in this process, or it has had one of a run. Otherwise `admit` has nothing to do."""
    def admit(
        self,
        scope: Scope | None,
        provider: str,
        model: str,
        request: object,
        *,
        max_output: int | None = None,
        choices: int | None = None,
        service_tier: str | None = None,
        region: str | None = None,
        caching: bool = False,
        input_tokens: int | None = None,
    ) -> Ticket | Refusal | None:
        """Ask whether a call fits in its budgets, and hold what it is expected to use. Never raises.

        Args:
            scope: The attribution of the call.
            provider: The provider; any name that `track` takes.
            model: The requested model.
            request: What the client was given: its keywords, with messages, system and tools. Only their size is used.
            max_output: The most output tokens of one choice; 4,096 are assumed without a limit.
            choices: The number of choices; 1 by default.
            service_tier: The requested tier.
            region: The region.
            caching: Whether the request asks the provider to keep the input in a cache.
            input_tokens: The input tokens, if they are known. The request is then not looked at.

        Returns:
            A ticket if the call fits, else the refusal; `None` if no budget counts the call.
        """
    def track(self, ticket: Ticket | None, /, **fields: Any) -> Receipt:
        """Record one call as `Meter.track` does, and settle its ticket. Without a ticket, the budgets that match are charged.

        Raises:
            TypeError: A field is unknown.
        """
    def charge(self, ticket: Ticket, /, **fields: Any) -> None:
        """Settle the ticket of a call that something else records: it is charged what `track` would charge.

        Raises:
            TypeError: A field is unknown.
        """
    def standings(self, scope: Scope | None, provider: str | None = None, model: str | None = None) -> list[dict[str, Any]]:
        """Return what was used of the budgets for which a call would count.

        Returns:
            For each budget: `budget`, `key` (a list), `unit`, the decimal texts `amount`, `used`, `held` and `left`, `percent`,
            `resets_at` and `period_start` (seconds since 1970, or `None`), `calls`, `unpriced`, `action` and `is_spent`.

        Raises:
            OSError: The state cannot be used.
        """
    def all_standings(self) -> list[dict[str, Any]]:
        """Return what was used of all budgets, for each key that was used in the current period; see `standings`.

        Raises:
            OSError: The state cannot be used.
            ValueError: The file of definitions is invalid.
        """
    def reset(self, name: str, key: list[str] | None) -> int:
        """Set the counts of a key of a budget to zero, or without a key those of all keys. Returns how many.

        Raises:
            OSError: The state cannot be used.
            ValueError: The file of definitions is invalid.
        """
    def recount(self) -> int:
        """Set what is used by every key to what the ledger has of the current period. Returns how many keys the ledger has.

        Calls that are not in the ledger, or have no usage there, do not count any more.

        Raises:
            OSError: The state cannot be used.
            ValueError: The file of definitions is invalid.
        """
    def take_crossings(self) -> list[dict[str, Any]]:
        """Return the thresholds that this process has crossed since the last call. Each is returned in one process only.

        Returns:
            For each: the values of `standings`, and `threshold` as it was defined, `id`, which is the same for the same threshold,
            key and period, `webhook`, and `record`, which `reported` takes.
        """
    def reported(self, records: list[int]) -> None:
        """Say that crossed thresholds were reported. If this process is killed before, another process is told of them.

        Raises:
            OSError: The state cannot be used. They will be told a second time.
        """
    def take_warnings(self) -> list[tuple[str, str]]:
        """Return the warnings since the last call: the name of each and a detail."""
    def stats(self) -> BudgetStats:
        """Return counts of this process: calls `admitted`, `refused`, `unpriced`, `abandoned` and `unestimated`, and more.

        `unavailable` counts operations that found the state unusable, `waiting` settlements in memory, `dropped` lost ones.
        `estimated_usd` and `actual_usd` are sums of settled calls. `state` is `ok` or a reason. `boundaries_until` is the first
        time at which periods are no longer known.
        """

def track_function(meter: Meter) -> Callable[..., Receipt]:
    """Return a meter's `track` as a function that records plain calls faster, with the same arguments and the same events."""

def _restore_receipt(event_id: str, cost: str | None, refused: str | None) -> Receipt: ...
def _restore_cost(details: dict[str, Any]) -> Cost: ...

@final
class Meter:
    """The core of a meter: validates, prices and journals events, and delivers them. `taximeter.Meter` is its Python side.

    Args:
        scope: Returns the active attribution, or `None`.
        warn: Called with the name of a count, the field it is about, and the detail of a notice.
        configure: Configures the meter. It is called before the first event if that has not happened.
    """
    def __new__(cls, *, scope: Callable[[], Scope | None], warn: Callable[..., None], configure: Callable[[], None]) -> Meter: ...
    def configure(
        self,
        *,
        enabled: bool,
        state_dir: str | PathLike[str] | None,
        ledger: str | PathLike[str] | None,
        linger_ms: float,
        retention: float | None,
        remotes: Sequence[dict[str, Any]],
        backend: str,
        budget: int | None,
        budget_state: int,
        max_age: float | None,
        catalog: str | PathLike[str] | None,
        long_tail: bool,
        overrides: str,
        defaults: dict[str, Any],
        timeout: float,
    ) -> None:
        """Apply settings. Earlier events are flushed to their destinations, within `timeout` seconds.

        Raises:
            ConfigError: A setting is invalid, or the state directory is not safe to use.
        """
    def probe(self) -> tuple[int | None, str] | None:
        """Return why the journal cannot be kept on disk: the system's error number, if there is one, and the reason."""
    @property
    def enabled(self) -> bool:
        """Whether events are recorded."""
    @property
    def catalog(self) -> str:
        """The price catalog's name, made of its source and version."""
    @property
    def catalog_as_of(self) -> str:
        """The date of the catalog's rates, such as `2026-11-22`; empty if its source does not say."""
    def track(
        self,
        *,
        provider: str | None = None,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        tags: Mapping[str, AttributionValue] | None = None,
        feature: AttributionValue = None,
        team: AttributionValue = None,
        agent: AttributionValue = None,
        customer: AttributionValue = None,
        user: AttributionValue = None,
        session: AttributionValue = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        usage: Mapping[str, float | None] | None = None,
        operation: str | None = None,
        latency_ms: float | None = None,
        ttft_ms: float | None = None,
        status: CallStatus | None = None,
        error: str | BaseException | type[BaseException] | None = None,
        finish_reason: str | None = None,
        service_tier: str | None = None,
        region: str | None = None,
        batch: bool | None = None,
        cost_usd: Decimal | str | float | None = None,
        started_at: Time | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        parent_span_id: str | None = None,
        call_id: str | None = None,
        usage_status: UsageStatus | None = None,
        provider_usage: str | None = None,
        cost_notes: str | None = None,
    ) -> Receipt:
        """Record one call that was made. No value makes it raise, but an unknown keyword raises a `TypeError`.

        An event without a provider or a model, or with an invalid count, is rejected: the receipt is false and says why. Other
        invalid values are left out or replaced, counted in `stats()["remarks"]`, and logged once a minute.

        Args:
            provider: The provider that answered: OpenTelemetry's `gen_ai.provider.name` or a common alias.
            model: The model that answered.
            input_tokens: All input tokens, cached ones included.
            output_tokens: All output tokens, reasoning included.
            tags: Further dimensions to report by.
            feature, team, agent, customer, user, session: The attribution of the call; see `attribute`.
            cache_read_tokens: Input tokens read from a cache.
            cache_write_tokens: Input tokens written to a cache.
            reasoning_tokens: Output tokens spent on reasoning.
            usage: Counts of further units by name; `UNITS` lists them. Seconds may be fractional.
            operation: OpenTelemetry's `gen_ai.operation.name`; `chat` by default.
            latency_ms: From request to last byte, in milliseconds.
            ttft_ms: From request to first token, in milliseconds.
            status: `success` or `error`; by default the latter if there is an `error`.
            error: The exception, its class, or the class's name. Messages are not recorded.
            finish_reason: Why generation stopped, in the provider's words.
            service_tier: The tier that served the call; it can change the price.
            region: The region that served the call.
            batch: Whether the call ran through a batch endpoint; it can change the price.
            cost_usd: The cost that the provider reports, in US dollars. It is used instead of the computed cost, which is kept
                beside it.
            started_at: When the call began: an aware datetime, a date, an ISO 8601 text (in UTC without a zone) or seconds since
                1970. It selects the dated price.
            trace_id, span_id, parent_span_id: W3C trace context, in hexadecimal.
            call_id: The id that the events of one call share, if it made several requests.
            usage_status: `complete`, `partial` or `missing`.
            provider_usage: The provider's own report of usage, as the text of a JSON object of at most 2 KiB. It is stored, but not
                used for counts or costs.
            cost_notes: Limitations of the cost that only the call can tell, comma-separated: `host_unknown`, `unaccounted_tokens`.

        Returns:
            The event's id and cost.
        """
    def unmatched_price_rules(self) -> list[str]:
        """Return the places in the user's prices of the multipliers, aliases and bases that match no priced model."""
    def post(self, path: str, body: Any, *, before: tuple[str, Any] | None = None) -> Receipt:
        """Record a request to a service with its own wire format. It is sent until the service accepts it.

        Args:
            path: The path after the service's URL.
            body: A value that JSON can express.
            before: Another path and body, sent first. Its rejection is ignored.

        Returns:
            The request's id, without a cost. It is false if the request was not recorded, which is counted.

        Raises:
            ValueError: A number is NaN or infinite.
            TypeError: A value cannot be expressed in JSON.
        """
    def take_answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """Return the responses since the last call, for destinations whose responses are kept: at most 1,000, the oldest first.

        Returns:
            The request's body, the status (`None` without a response), and the response's body or the reason why there is none.
        """
    def flush(self, timeout: float) -> tuple[int, int, int]:
        """Wait until earlier events are delivered or rejected, at most `timeout` seconds.

        Signal handlers run during the wait. An exception of a handler ends the wait and is raised.

        Returns:
            The numbers of delivered, pending and dropped events.
        """
    def flush_ledger(self, timeout: float) -> bool:
        """Wait until the ledger has all earlier events, at most `timeout` seconds. Does not wait for other destinations.

        Returns:
            Whether the ledger has them; true if the ledger is not a destination.
        """
    def close(self, timeout: float) -> tuple[int, int, int]:
        """Flush, and end delivery; see `flush`."""
    def stats(self) -> Stats:
        """Return the counts of this process."""
    def drain(self) -> dict[str, Any]:
        """Deliver the events of ended processes. Returns `delivered`, `left`, `expired` and `damaged` counts, and `reasons`.

        `reasons` is a pair: failures, and events for destinations that are not in the settings. Signal handlers run meanwhile.
        """
    def destinations(self) -> list[str]:
        """Return the names of the configured destinations."""
    def retry_dead_letters(self) -> int:
        """Move dead letters of the configured destinations back to the journal. Returns the number of events.

        Raises:
            DeliveryError: They cannot be moved. They are kept.
        """
    def drop_dead_letters(self) -> int:
        """Delete all dead letters. Returns the number of events.

        Raises:
            DeliveryError: The files cannot be deleted.
        """
    def price(
        self,
        model: str,
        usage: Any,
        provider: str | None,
        at: Time | None,
        service_tier: str | None,
        batch: bool | None,
        region: str | None,
        context: Mapping[str, str] | None,
        reported: Decimal | None,
    ) -> Cost | None:
        """Return what a call costs; `None` if not all keys of `usage` are units.

        Raises:
            UsageError: A count is invalid. The message names it.
            ValueError: Another argument is invalid. The message names it.
        """
    def set_catalog(self, text: str) -> None:
        """Use another price catalog, given as JSON.

        Raises:
            CatalogError: The text is not a valid catalog. The old one stays in force.
        """
    def reprice(
        self,
        ledger: str | PathLike[str],
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        dry_run: bool,
    ) -> tuple[int, list[tuple[str, str, int, int, Decimal, Decimal]]]:
        """Price the ledger's events again. Times are in nanoseconds since 1970.

        Returns:
            How many events were examined, and for each model: provider, model, how many changed, how many of these had no cost,
            and the cost before and after.

        Raises:
            LedgerError: The ledger cannot be read or written.
            ValueError: A filter names an unknown field.
        """
    @property
    def repriced(self) -> int:
        """How many stored events the last repricing has priced so far, for a display of its progress."""
    def count_remark(self, what: str, field: str) -> None:
        """Count a problem that was found outside `track`, under its name in `stats()`, and warn about it.

        Args:
            what: The name of the count. An unknown name is ignored.
            field: The field it is about.
        """
    def models(self) -> list[tuple[str, str, bool, str]]:
        """Return every entry of the price catalogs in use: provider, model, whether it is retired, and the catalog."""

@final
class LedgerReader:
    """Reads one ledger. Times are in nanoseconds since 1970.

    Each of `conditions` has a field, a comparison (`=`, `!=`, `~`, `>` or `<`) and values, of which one has to do; `None` is an
    absent value.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """
    def __new__(cls, path: str | PathLike[str]) -> LedgerReader: ...
    def limit(self, seconds: float | None) -> None:
        """Stop questions that take longer: they raise `LedgerTimeoutError`. `None` is no limit.

        Args:
            seconds: The longest time of one question.
        """
    def stop(self) -> None:
        """Stop the question that another thread is asking, which raises `LedgerError` there."""
    def report(
        self,
        by: Sequence[str],
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        parts: Mapping[str, Sequence[int]],
        sort: str | None = None,
        *,
        is_reversed: bool = False,
        offset: int = 0,
        limit: int | None = None,
        is_last: bool = False,
    ) -> tuple[list[tuple[tuple[str | None, ...], tuple[Any, ...]]], tuple[Any, ...], tuple[Any, ...], int]:
        """Sum up events by groups.

        Args:
            by: The fields.
            since: Only events that began at or after this time.
            until: Only events that began before this time.
            conditions: The filter.
            parts: The parts of time by their name in `by`: when each begins, ascending. The value of such a field is the index of the
                part, as a text.
            sort: A field of `by`, or a sum, from the highest; `None` for the order of time if there are parts of time, else from the
                highest cost.
            is_reversed: Whether the order is the other way round.
            offset: How many rows are left out before those that are returned.
            limit: The most rows; `None` for all.
            is_last: Whether rows are counted from the last one.

        Returns:
            The rows: the values of the fields, and the sums in the order of `taximeter.Row`; the sums of all other groups; those of
            all groups; and the number of groups.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def sums_in_three_ways(self, by: Sequence[str], other: str) -> list[list[tuple[tuple[str | None, ...], tuple[Any, ...]]]]:
        """Sum up all events at one moment, to compare what should agree.

        Args:
            by: Fields that the sums by hour have.
            other: A field that they do not have.

        Returns:
            The rows of a report by `by`, those of a report by `by` and `other`, and the sums of the rows of calls. The rows have the
            form of those of `report`.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def durations(
        self,
        what: str,
        by: Sequence[str],
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        parts: Mapping[str, Sequence[int]],
        fractions: Sequence[float],
    ) -> list[tuple[list[str | None], int, list[float], list[tuple[float, int]]]]:
        """Return percentiles of latency or of the time to the first token over groups of events.

        Args:
            what: `latency_ms` or `ttft_ms`.
            by: The fields.
            since: Only events that began at or after this time.
            until: Only events that began before this time.
            conditions: The filter.
            parts: As in `report`.
            fractions: The percentiles as fractions, such as 0.95.

        Returns:
            The values of the fields, the calls of which the duration is known, the percentiles in milliseconds within 4.5 %, and the
            calls by bucket: its upper limit in milliseconds, and how many.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def events(
        self,
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        after: int,
        limit: int,
    ) -> tuple[list[str], int]:
        """Return at most `limit` events after a sequence number as JSON texts, and the last one's sequence number.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def export(
        self,
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        after: int,
        limit: int,
        columns: Sequence[str] | None,
        is_raw: bool,
    ) -> tuple[bytes, int, int]:
        """Return at most `limit` events after a sequence number as lines: JSON, or CSV with these columns and without a header.

        Args:
            since: Only events that began at or after this time.
            until: Only events that began before this time.
            conditions: The filter.
            after: The sequence number.
            limit: The most events.
            columns: The columns of CSV; `None` for JSON.
            is_raw: Whether texts stay as they are, even if a spreadsheet would run them as formulas.

        Returns:
            The lines, the number of events, and the sequence number of the last one.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def newest(
        self, since: int | None, until: int | None, conditions: Sequence[tuple[str, str, Sequence[str | None]]], limit: int
    ) -> list[str]:
        """Return the events that began last as JSON texts, the newest first.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def highest(
        self,
        since: int | None,
        until: int | None,
        conditions: Sequence[tuple[str, str, Sequence[str | None]]],
        measure: str,
        limit: int,
        offset: int,
    ) -> list[str]:
        """Return the events with the highest values as JSON texts, after the first `offset` ones.

        Args:
            since: Only events that began at or after this time.
            until: Only events that began before this time.
            conditions: The filter.
            measure: `cost_usd` or `latency_ms`.
            limit: The most events.
            offset: How many come before them.

        Raises:
            ValueError: The measure or a field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def find(self, event_id: str) -> str | None:
        """Return the newest event whose id begins with `event_id`, as a JSON text; `None` if no id does."""
    def period(self) -> tuple[int, int] | None:
        """Return when the first and the last event began; `None` if there are no events."""
    def last_sequence(self) -> int:
        """Return the sequence number of the last event; 0 if the ledger is empty."""
    def sequence_of(self, event_id: str) -> int:
        """Return the last sequence number among the events up to this id."""
    def files(self) -> int:
        """Return how many files have been read. The number grows when another file replaces the ledger."""

def scan_columns() -> list[str]:
    """Return the names of the columns of an event, in order."""

def scan_stream(
    path: str | PathLike[str],
    columns: Sequence[str],
    since: int | None,
    until: int | None,
    conditions: Sequence[tuple[str, str, Sequence[str | None]]],
    rows: int,
) -> object:
    """Begin to read the events of a ledger, each batch when it is asked for.

    Args:
        path: The ledger's file.
        columns: Names of `scan_columns`.
        since: Only events that began at or after this time, in nanoseconds since 1970.
        until: Only events that began before this time.
        conditions: The filter.
        rows: The rows of a batch.

    Returns:
        A capsule with an Arrow C stream, which can be read once.

    Raises:
        ValueError: A column or a field is unknown.
        LedgerError: The ledger cannot be read.
    """

def report_stream(
    words: Sequence[tuple[str, Sequence[str | None]]],
    counts: Sequence[tuple[str, Sequence[int]]],
    amounts: Sequence[tuple[str, Sequence[str | None]]],
) -> object:
    """Return the rows of a report as a capsule with an Arrow C stream, which can be read once.

    Args:
        words: The fields, with the value of each row.
        counts: The counts, with the number of each row.
        amounts: The amounts, with the decimal text of each row; `None` is unknown.

    Raises:
        LedgerError: An amount is not a decimal, or has more than 38 digits.
    """

@final
class LedgerQuery:
    """Runs one SQL statement that only reads, in a thread of its own.

    Args:
        path: The ledger's file.
        sql: The statement.
        parameters: The values of its question marks, or of its names.
        timeout: Seconds until it is stopped; `None` for no limit.

    Raises:
        TypeError: A parameter is not a value of SQL.
    """
    def __new__(
        cls, path: str | PathLike[str], sql: str, parameters: Sequence[Any] | Mapping[str, Any], timeout: float | None
    ) -> LedgerQuery: ...
    def columns(self) -> list[str]:
        """Return the names of the columns. To be called first, and once.

        Raises:
            ValueError: The statement is invalid, or does not only read.
            LedgerError: The ledger cannot be read, or the time is over.
        """
    def rows(self) -> list[tuple[Any, ...]] | None:
        """Return the next rows; `None` after the last ones.

        Raises:
            LedgerError: The ledger cannot be read, or the time is over.
        """
    def close(self) -> None:
        """Stop the statement."""

def ledger_backup(
    ledger: str | PathLike[str], target: str | PathLike[str], replace: bool, progress: Callable[[int, int], object] | None
) -> dict[str, Any]:
    """Copy a ledger to a file, as it is at one moment.

    Args:
        ledger: The ledger's file.
        target: The new file.
        replace: Whether it may exist.
        progress: Called with the pages that are copied, and all pages.

    Returns:
        `events`, `bytes` and `kept`, which is `None`.

    Raises:
        ValueError: There is no ledger, or the file exists.
        LedgerError: One of the files cannot be used.
    """

def ledger_restore(
    ledger: str | PathLike[str], source: str | PathLike[str], progress: Callable[[int, int], object] | None
) -> dict[str, Any]:
    """Put a copy of a backup in the place of a ledger.

    Args:
        ledger: The ledger's file.
        source: The backup.
        progress: Called with the pages that are copied, and all pages.

    Returns:
        `events`, `bytes` and `kept`: the path of the replaced ledger, or `None`.

    Raises:
        ValueError: There is no backup, or it is the ledger itself.
        LedgerError: It is not a ledger, from a newer version, or damaged; or the ledger cannot be replaced.
    """

def ledger_check(
    ledger: str | PathLike[str], is_thorough: bool, timeout: float | None, progress: Callable[[int, int], object] | None
) -> dict[str, Any]:
    """Check a ledger.

    Args:
        ledger: The ledger's file.
        is_thorough: Whether to compare indexes with tables, too.
        timeout: Seconds until the check is left unfinished; `None` for no limit.
        progress: Called meanwhile with two zeros.

    Returns:
        `faults`, `is_complete`, `events`, `bytes` and `free_bytes`.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """

def ledger_compact(ledger: str | PathLike[str], progress: Callable[[int, int], object] | None) -> tuple[int, int]:
    """Write a ledger's file anew, without unused pages.

    Args:
        ledger: The ledger's file.
        progress: Called meanwhile with two zeros.

    Returns:
        Its bytes before and after.

    Raises:
        ValueError: There is no ledger.
        LedgerError: It cannot be written.
    """

def ledger_prune(
    ledger: str | PathLike[str],
    since: int | None,
    until: int | None,
    conditions: Sequence[tuple[str, str, Sequence[str | None]]],
    keep_rollups: bool,
    erase: bool,
    dry_run: bool,
    progress: Callable[[int, int], object] | None,
) -> tuple[int, int]:
    """Delete calls of a ledger, in batches between which programs write.

    Args:
        ledger: The ledger's file.
        since: Only calls that began at or after this time, in nanoseconds since 1970.
        until: Only calls that began before this time.
        conditions: The filter, as of `LedgerReader`.
        keep_rollups: Whether reports still count the calls.
        erase: Whether texts that only these calls have are deleted as well.
        dry_run: Whether the calls are only counted.
        progress: Called with the calls that are deleted, and all that will be.

    Returns:
        The number of calls, and the bytes of the file that are unused.

    Raises:
        ValueError: A field is unknown.
        LedgerError: The ledger cannot be read or written.
    """

def work_for(user: int, group: int) -> None:
    """Let root work in directories of another user, and give that user the files that it creates there.

    Args:
        user: The number of the user.
        group: The number of the group of new files.

    Raises:
        OSError: This process is not root's.
    """

def ledger_pack(ledger: str | PathLike[str], progress: Callable[[int, int], object] | None) -> None:
    """Migrate a ledger to this version's schema, and pack all its calls for fast reports.

    Args:
        ledger: The ledger's file. A missing file is left alone.
        progress: Called now and then with the calls that are packed and all calls. What it raises ends the work.

    Raises:
        LedgerError: The ledger cannot be read or written.
    """

@final
class Scanner:
    """Reads the usage of one response while its bytes pass.

    Args:
        family: The format of the response, such as `openai` or `anthropic`.
        provider: The provider of the response.
        content_type: The content type of the response.
        gzip: Whether the bytes are compressed with gzip.
        strip: Whether to remove the chunk that reports usage from a stream, because the caller did not request it.
        keep: Whether to keep the provider's own usage report.
        data: A response that was read already. Then there is nothing to feed.

    Raises:
        ValueError: The family is unknown, or the content type is neither JSON nor a stream of JSON.
    """
    def __new__(
        cls,
        family: str,
        *,
        provider: str,
        content_type: str,
        gzip: bool = False,
        strip: bool = False,
        keep: bool = False,
        data: bytes | None = None,
    ) -> Scanner: ...
    def count_output(self) -> None:
        """Count the output of a stream from now on, for `over`. This parses every part of it, and keeps no text."""
    def over(self, ticket: Ticket) -> Refusal | None:
        """Ask whether the call of a ticket still fits with what its stream has used by now: as it has reported, or as was counted.

        Returns:
            The refusal of the budget that it exceeds, whose `reason` is `cut`. The stream has to be closed then: what was generated
            is charged when the ticket is settled. `None` if it fits.
        """
    def feed(self, data: bytes) -> bytes | None:
        """Read the next bytes. Returns what to pass on instead, or `None` for the same bytes."""
    def rest(self) -> bytes | None:
        """Return bytes that were held back and must be passed on after the end."""
    def finish(self) -> dict[str, Any] | None:
        """End the scan. Returns what was found, or `None` if the scan had already ended.

        `first_token_ms` is counted from the creation of the scanner.
        """
    def record(
        self,
        meter: Meter,
        fields: dict[str, Any],
        ids: dict[str, str],
        scope: Scope | None,
        started_at: float | None,
        latency_ms: float | None,
        made_ms: float | None,
        ticket: Ticket | None = None,
    ) -> dict[str, Any] | None:
        """End the scan and record its event, if nothing about the response is unusual.

        Args:
            meter: The meter that records the event.
            fields: The fields of the event that the request decides.
            ids: The ids of the event.
            scope: The attribution.
            started_at: When the call began, in seconds since 1970.
            latency_ms: How long it took, in milliseconds.
            made_ms: How long it took until this scanner was created, in milliseconds.
            ticket: The ticket of the call, which the event settles.

        Returns:
            `None` if nothing is left to do; else what `finish` returns, and nothing was recorded.
        """

@final
class Exchange:
    """Makes requests and waits for their responses. Each thread keeps its own connections alive.

    Args:
        timeout: Seconds for each read.
        connect: Seconds for connecting; by default the same as `timeout`.
        ca: Certificates in PEM to trust in addition to the system's.
        max_bytes: The most bytes of a response's body; 4 MiB by default.
    """
    def __new__(
        cls, timeout: float, *, connect: float | None = None, ca: bytes | None = None, max_bytes: int | None = None
    ) -> Exchange: ...
    def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, str, list[tuple[str, str]], bytes]:
        """Make a request. Returns the response's status, URL, headers and body.

        Raises:
            TransferError: There is no response.
        """

def journals(state_dir: str | PathLike[str]) -> list[dict[str, Any]]:
    """Return the journals of a state directory: `name`, `owner`, `destinations`, `disk_bytes`, `error`.

    An owner is `live`, `dead`, `this` or `unknown`. Each destination has the waiting events: `destination`, `records`, `bytes`,
    `oldest_seconds`, `damaged`, `incomplete`.

    Raises:
        OSError: The directory cannot be listed, or does not belong to this user.
    """

def drop_journal(state_dir: str | PathLike[str], name: str, destination: str | None) -> int:
    """Drop the waiting events in the journal of an ended process, for one destination or for all.

    Raises:
        OSError: The journal or the destination does not exist, or the process is running.
    """

def quarantine(state_dir: str | PathLike[str]) -> list[dict[str, Any]]:
    """Return the damaged segments in quarantine: `name`, `bytes`, `destinations`, `readable` and `damaged` records, `requeued`."""

def requeue_quarantine(state_dir: str | PathLike[str]) -> dict[str, int]:
    """Move records of damaged segments back to journals. Returns how many are `requeued`, `damaged` and `left`.

    Raises:
        OSError: They cannot be moved. They stay in quarantine.
    """

def header_values(raw: Iterable[tuple[bytes, bytes]]) -> tuple[str, str, str]:
    """Return the content type of a response; its encoding and Google's service tier, in lower case; empty texts for missing ones.

    Raises:
        TypeError: A name or a value is not bytes.
    """

def normalize_usage(
    report: str, family: str | None = None, provider: str | None = None
) -> tuple[dict[str, Any], Decimal | None] | None:
    """Read counts by unit from a provider's usage object.

    Args:
        report: The object as JSON text.
        family: Its format, if the fields do not determine it.
        provider: The provider. Some report a cost, each in its own field.

    Returns:
        The counts, and the cost that the provider reports; `None` if the object has no counts.
    """

def check_catalog(text: str) -> None:
    """Check a price catalog.

    Raises:
        CatalogError: The text is not a valid catalog. The message says why.
    """

def check_overrides(text: str) -> None:
    """Check rates, multipliers and aliases.

    Raises:
        ConfigError: One of them is invalid. The message names it.
    """

def usual_denominator(unit: str) -> str | None:
    """Return the usual way to state the rate of a unit, such as `per_1m` for tokens; `None` if there is no such unit."""

def catalog_denominator(unit: str) -> int | None:
    """Return for how many of a unit the catalog states its rate, such as 1,000,000 tokens; `None` if there is no such unit."""

def embedded_catalog(*, long_tail: bool = False) -> str:
    """Return the embedded catalog, or the embedded long tail, as JSON."""

@final
class Encoding:
    """Splits texts into tokens: an embedded encoding, or a registered tokenizer.

    All threads share one object of an encoding. Lone surrogates in a text are treated like in `tiktoken`.
    """

    @property
    def name(self) -> str:
        """The encoding's name, or the prefix of a registered tokenizer."""

    @property
    def n_vocab(self) -> int:
        """The largest token number plus one."""

    @property
    def max_token_value(self) -> int:
        """The largest token number."""

    @property
    def eot_token(self) -> int | None:
        """The token that ends a text; `None` if the encoding has no such token."""

    @property
    def special_tokens_set(self) -> frozenset[str]:
        """The texts of the special tokens."""

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, like `len(encode_ordinary(text))` but without making the list."""

    def count_batch(self, texts: Iterable[str]) -> list[int]:
        """Count the tokens of each of many texts, using several cores if that is faster."""

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] | tuple[str, ...] | list[str] | None = None,
        disallowed_special: Literal["all"] | AbstractSet[str] | tuple[str, ...] | list[str] | None = None,
    ) -> list[int]:
        """Return the tokens of a text, with `tiktoken`'s rules for special tokens.

        Args:
            text: The text.
            allowed_special: Special tokens that are encoded as such: `"all"` or a collection; by default none.
            disallowed_special: Special tokens that the text must not contain: a collection, or `"all"` (the default) for all that are
                not allowed.

        Raises:
            ValueError: The text contains a disallowed special token.
        """

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the tokens of a text, with special tokens encoded as ordinary text."""

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """Return the text of tokens. `errors` applies to tokens that end inside a character, as in `bytes.decode`.

        Raises:
            KeyError: A number is not a token.
        """

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of tokens, which may not be valid UTF-8."""

def destination_schemes() -> list[str]:
    """Return the URL schemes of destinations, such as `cloudevents+https`."""

def check_destination(destination: dict[str, Any]) -> None:
    """Check a destination in the form of `Meter.configure`.

    Raises:
        ConfigError: An argument is invalid. The message contains no URL and no header.
    """

def credential_headers(protocol: str, user: str | None, token: str | None) -> list[tuple[str, str]]:
    """Return the headers that hold a user's keys, in the form that the service of a protocol takes.

    Raises:
        ConfigError: The protocol has no users.
    """

def check_query(by: Sequence[str], conditions: Sequence[tuple[str, str, Sequence[str | None]]]) -> None:
    """Check the fields of a report, and conditions in the form of `LedgerReader.report`.

    Raises:
        ValueError: A field is unknown, or a condition is invalid.
    """

def clickhouse_columns() -> list[tuple[str, str, str]]:
    """Return the columns of the table in ClickHouse: the name, the type, and the rest of the definition. The last one is not sent."""

def clickhouse_place(path: str) -> tuple[str, str] | None:
    """Return the database and the table in the path of a URL; `None` if a name is invalid."""

def clickhouse_report(
    lines: str, begins: Sequence[Sequence[int] | None]
) -> tuple[list[tuple[tuple[str | None, ...], tuple[Any, ...]]], tuple[Any, ...], tuple[Any, ...], int]:
    """Read what a ClickHouse server answers to a report: the rows as `LedgerReader.report` returns them.

    Args:
        lines: A JSON array of texts a line: the sums, the values of the fields and, if rows were cut, the number of groups and the
            sums of all.
        begins: For each field that is a part of time, when the parts begin, in seconds, ascending.

    Raises:
        LedgerError: A line has another form.
    """

def clickhouse_settings(ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the settings with which delivery inserts calls with these ids into ClickHouse.

    Raises:
        ValueError: An id is not a UUID.
    """

def unit_scales() -> dict[str, int]:
    """Return how many stored counts one is, for the units whose counts are fractions: seconds are stored as microseconds."""

def cloud(aws: str, azure: str, gcp: str) -> tuple[str, str | None]:
    """Look up this host's cloud at the metadata services with these base URLs. Takes at most a second.

    Returns:
        `aws`, `azure`, `gcp` or `on-prem`, and the host's id there. A response only counts if the id has the cloud's own form.
    """

def encoding(name: str) -> Encoding:
    """Return an embedded encoding by name. It is loaded on first use.

    Args:
        name: `o200k_base`, `o200k_harmony`, `cl100k_base`, `p50k_base`, `p50k_edit`, `r50k_base` or `gpt2`.

    Raises:
        UnknownNameError: The name is unknown. The message lists the nearest names.
    """

def encoding_of(model: str) -> str | None:
    """Return the name of an OpenAI model's encoding; `None` for other models."""

def registered_for(model: str) -> Encoding | None:
    """Return the tokenizer that is registered for a model; `None` without one."""

def register_tokenizer(prefix: str, path: str | PathLike[str]) -> None:
    """Register a `tokenizer.json` for models whose names begin with a prefix."""

def unknown_model(model: str, known: Sequence[str]) -> Exception:
    """Return the exception for an unknown model, with the nearest known names."""
