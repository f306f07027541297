"""The typed face of the extension. Its Rust side is `src/py/`.

The docstrings here are the only ones: `build.rs` puts them into the extension, where `help()` and documentation generators find them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from os import PathLike
from typing import Any, Literal, final

from .types import AttributionValue, CallStatus, CostStatus, Refusal, Stats, Time, UsageStatus

__version__: str
UNITS: Mapping[str, tuple[int, tuple[str, ...]]]
"""Every unit of usage: for how many of it a rate is stated, and its dimensions."""

@final
class Scope:
    """Attribution of a scope, with that of the scopes around it.

    Raises:
        TypeError: A value cannot be recorded as a text, or a field is unknown; the message names it.
    """
    def __new__(cls, outer: Scope | None = None, **fields: Any) -> Scope: ...
    @staticmethod
    def lenient(outer: Scope | None, fields: Mapping[str, Any]) -> tuple[Scope, list[str]]:
        """The scope of the fields that can be recorded, and the names of the others."""
    def over(self, outer: Scope) -> Scope:
        """This scope within another, which counts only where this one says nothing."""

@final
class Receipt:
    """What `track` answers; false when the event was not recorded."""

    @property
    def id(self) -> str:
        """The event's id, a UUID of version 7; empty when it was not recorded."""
    @property
    def cost_usd(self) -> Decimal | None:
        """What the call cost, exactly; `None` when that is not known."""
    @property
    def refused(self) -> Refusal | None:
        """Why the event was not recorded; `None` when it was."""
    @staticmethod
    def refusal(reason: str) -> Receipt:
        """A receipt of an event that was not recorded for this reason.

        Raises:
            ValueError: The reason is unknown.
        """
    def __bool__(self) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Cost:
    """What a call costs, and why."""

    @property
    def usd(self) -> Decimal | None:
        """The total in US dollars: what the provider reported, else what is computed; `None` when no price is known."""
    @property
    def computed_usd(self) -> Decimal | None:
        """The total that the rates come to, also where the provider reported one."""
    @property
    def input_usd(self) -> Decimal | None:
        """What of the computed total is for input."""
    @property
    def output_usd(self) -> Decimal | None:
        """What of the computed total is for output."""
    @property
    def status(self) -> CostStatus:
        """`priced`, `free`, `unpriced`, `reported` or `manual` (by a rate or a multiplier of the user's)."""
    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the computed total, such as `region_without_rates`; `docs/pricing.md` lists them."""
    @property
    def provider(self) -> str | None:
        """The provider of the catalog entry; for a rate of the user's, the provider that was asked about."""
    @property
    def model(self) -> str | None:
        """The id of the catalog entry, or the key of the user's rate."""
    @property
    def match(self) -> Literal["override", "exact", "pattern"] | None:
        """How the entry was found: `override`, `exact` or `pattern`."""
    @property
    def catalog(self) -> str:
        """Where the rates are from: the catalog's source and version, and the user's overrides where they had a part in it."""
    @property
    def valid_from(self) -> str | None:
        """The day from which on the rates hold, such as `2026-07-01`; `None` where the catalog does not say."""
    def explain(self) -> str:
        """One line for each charged unit: quantity × rate = amount."""
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def _restore_receipt(event_id: str, cost: str | None, refused: str | None) -> Receipt: ...
def _restore_cost(told: dict[str, Any]) -> Cost: ...

@final
class Meter:
    """The core of a meter: validates, prices and journals events, and delivers them. `taximeter.Meter` is its Python face.

    Args:
        scope: Returns the attribution in force, or `None`.
        warn: Takes the name of a count, the field that it is about, and of a notice its detail.
        configure: Settles the settings. It is called before the first event of a meter that was not configured.
    """
    def __new__(cls, *, scope: Callable[[], Scope | None], warn: Callable[..., None], configure: Callable[[], None]) -> Meter: ...
    def configure(
        self,
        *,
        enabled: bool,
        state_dir: str | PathLike[str] | None,
        ledger: str | PathLike[str] | None,
        remotes: Sequence[dict[str, Any]],
        backend: str,
        budget: int | None,
        max_age: float | None,
        catalog: str | PathLike[str] | None,
        long_tail: bool,
        overrides: str,
        defaults: dict[str, Any],
        timeout: float,
    ) -> None:
        """Put settings in force. Events that were tracked before are flushed to their destinations, within `timeout` seconds.

        Raises:
            ConfigError: A setting is invalid, or the state directory is not safe to use.
        """
    def probe(self) -> tuple[int | None, str] | None:
        """Why the journal cannot be kept on disk: the system's error number where there is one, and the reason."""
    @property
    def enabled(self) -> bool:
        """Whether events are recorded."""
    @property
    def catalog(self) -> str:
        """The price catalog's name: its source and version."""
    @property
    def catalog_as_of(self) -> str:
        """The day that the catalog's rates were taken, such as `2026-11-22`; empty where its source does not say."""
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
        usage_status: UsageStatus | None = None,
        provider_usage: str | None = None,
    ) -> Receipt:
        """Record one call that has been made. No value makes it raise; a keyword it does not have is a `TypeError`.

        An event without a provider or a model, or with an invalid count, is refused: the receipt is false and says why.
        Anything else that is wrong is left out or mended, counted in `stats()["remarks"]` and warned about once a minute.

        Args:
            provider: Who answered; OpenTelemetry's `gen_ai.provider.name` or a common alias.
            model: The model that answered.
            input_tokens: All input tokens, cached ones included.
            output_tokens: All output tokens, reasoning included.
            tags: Further dimensions to report by, a mapping of texts, numbers or UUIDs.
            feature, team, agent, customer, user, session: Whom to charge; see `attribute`.
            cache_read_tokens: Input tokens read from a cache.
            cache_write_tokens: Input tokens written to a cache.
            reasoning_tokens: Output tokens spent on reasoning.
            usage: Counts of further units by name; `UNITS` lists them. Seconds may be fractional.
            operation: OpenTelemetry's `gen_ai.operation.name`; `chat` by default.
            latency_ms: From request to last byte, in milliseconds.
            ttft_ms: From request to first token, in milliseconds.
            status: `success` or `error`; by default the latter if there is an `error`.
            error: The exception, its class, or the class's name. Messages are not recorded.
            finish_reason: Why generation stopped, in the provider's word.
            service_tier: The tier that served the call; it can change the price.
            region: The region that served the call.
            batch: Whether the call ran through a batch endpoint; it can change the price.
            cost_usd: What the provider says it costs, in US dollars. It counts, and the computed cost is kept beside it.
            started_at: When the call began: an aware datetime, a date, an ISO 8601 text (in UTC when it has no zone) or seconds since
                1970. It decides which dated price applies.
            trace_id, span_id, parent_span_id: W3C trace context, in hexadecimal.
            usage_status: `complete`, `partial` or `missing`.
            provider_usage: The provider's own report of usage, as the text of a JSON object of at most 2 KiB. It is kept beside the
                counts and decides on nothing.

        Returns:
            The event's id and cost.
        """
    def post(self, path: str, body: Any, *, before: tuple[str, Any] | None = None) -> Receipt:
        """Record a request for a service with a wire of its own, to be made until the service has taken it.

        Args:
            path: What is put after the service's URL.
            body: What JSON is made of.
            before: Another such pair, asked before, whose refusal does not matter.

        Returns:
            The request's id, and no cost; false if it was not recorded, which is counted.

        Raises:
            ValueError: there is a number that JSON does not have.
            TypeError: there is something else that it does not have.
        """
    def take_answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """What destinations whose answers are kept answered since this was asked last: the last 1,000, the oldest first.

        Returns:
            The request's body, the status (`None` where there was no answer), and the answer's body or why there is none.
        """
    def flush(self, timeout: float) -> tuple[int, int, int]:
        """Wait until what was tracked before is delivered or refused, at most `timeout` seconds.

        Handlers of signals run meanwhile. What one of them raises ends the wait and is raised.

        Returns:
            Numbers of events: delivered, pending, dropped.
        """
    def flush_ledger(self, timeout: float) -> bool:
        """Wait until the ledger has what was tracked before, at most `timeout` seconds; other destinations are not waited for.

        Returns:
            Whether the ledger has it; true if the ledger is not a destination.
        """
    def close(self, timeout: float) -> tuple[int, int, int]:
        """Flush, and end delivery; see `flush`."""
    def stats(self) -> Stats:
        """The counts of this process."""
    def drain(self) -> dict[str, Any]:
        """Deliver now what ended processes left: `delivered`, `left`, `expired`, `damaged` events, and `reasons` why some are left.

        Handlers of signals run meanwhile, as in `flush`.
        """
    def destinations(self) -> list[str]:
        """The names of the destinations that the settings name."""
    def retry_dead_letters(self) -> int:
        """Put dead letters of the destinations in force back into the journal; returns how many events.

        Raises:
            DeliveryError: They cannot be put back; they are kept.
        """
    def drop_dead_letters(self) -> int:
        """Delete the dead letters; returns how many events.

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
        """What a call costs; `None` when the keys of `usage` are not all units.

        Raises:
            UsageError: A count breaks its rule; the message names it.
            ValueError: Another argument is invalid; the message names it.
        """
    def set_catalog(self, text: str) -> None:
        """Price with another catalog, from its JSON.

        Raises:
            CatalogError: The text is not a catalog. The old one stays in force.
        """
    def reprice(
        self,
        ledger: str | PathLike[str],
        since: int | None,
        until: int | None,
        equal: Sequence[tuple[str, str]],
        dry_run: bool,
    ) -> tuple[int, list[tuple[str, str, int, int, Decimal, Decimal]]]:
        """Price the ledger's events anew; times are in nanoseconds since 1970.

        Returns:
            How many events were examined, and for each model: provider, model, how many changed, how many of these had no cost,
            and the cost before and after.

        Raises:
            LedgerError: The ledger cannot be read or written.
            ValueError: A filter names an unknown field.
        """
    def count_remark(self, what: str, field: str) -> None:
        """Count something that was found before `track`, by its name in `stats()`, and warn about it.

        Args:
            what: The name of the count. An unknown name is ignored.
            field: What it is about.
        """
    def models(self) -> list[tuple[str, str, bool, str]]:
        """Every entry of the price catalogs in use: provider, model, whether it is retired, and the catalog."""

@final
class LedgerReader:
    """Reads one ledger. Times are in nanoseconds since 1970; `equal` is pairs of a field and the value that events have to have.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """
    def __new__(cls, path: str | PathLike[str]) -> LedgerReader: ...
    def report(
        self, by: Sequence[str], since: int | None, until: int | None, equal: Sequence[tuple[str, str]]
    ) -> list[tuple[tuple[str | None, ...], dict[str, Any]]]:
        """Sums of groups of events: the values of the fields `by`, and the sums by name.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def events(
        self, since: int | None, until: int | None, equal: Sequence[tuple[str, str]], after: int, limit: int
    ) -> tuple[list[str], int]:
        """At most `limit` events after a sequence number, as JSON texts, and the number of the last.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
    def last_sequence(self) -> int:
        """The sequence number of the last event; 0 without one."""
    def sequence_of(self, event_id: str) -> int:
        """The last sequence number among the events up to this id."""
    def files(self) -> int:
        """How many files have been read: one more each time another file takes the place of the ledger."""

@final
class Scanner:
    """Reads the usage of one response from its bytes as they pass.

    Args:
        family: The format of the response, such as `openai` or `anthropic`.
        provider: The provider that answers.
        content_type: The content type of the response.
        gzip: Whether the bytes are compressed with gzip.
        strip: Whether to take out of a stream the chunk that reports usage, which the caller did not ask for.
        keep: Whether to keep the provider's own usage object.

    Raises:
        ValueError: The family is unknown, or the content type is neither JSON nor a stream of it.
    """
    def __new__(
        cls, family: str, *, provider: str, content_type: str, gzip: bool = False, strip: bool = False, keep: bool = False
    ) -> Scanner: ...
    def feed(self, data: bytes) -> bytes | None:
        """Read the next bytes; returns what to pass on in their place, or `None` for the same."""
    def rest(self) -> bytes | None:
        """What is left to pass on after the last bytes."""
    def finish(self) -> dict[str, Any] | None:
        """End the scan; returns what was found, or `None` when it had ended before.

        `first_token_ms` is counted from the making of the scanner.
        """

@final
class Exchange:
    """Makes requests and waits for their answers. Connections are kept alive, for each thread its own.

    Args:
        timeout: Seconds for each wait for bytes.
        connect: Seconds for a connection; as many by default.
        ca: Certificates in PEM that are trusted beside the system's.
    """
    def __new__(cls, timeout: float, *, connect: float | None = None, ca: bytes | None = None) -> Exchange: ...
    def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> tuple[int, str, list[tuple[str, str]], bytes]:
        """Makes a request; the answer's status, URL, headers and body.

        Raises:
            TransferError: There is no answer.
        """

def journals(state_dir: str | PathLike[str]) -> list[dict[str, Any]]:
    """The journals of a state directory: `name`, `owner` (`live`, `dead`, `this`, `unknown`), `destinations`, `disk_bytes`, `error`.

    For each destination what waits: `destination`, `records`, `bytes`, `oldest_seconds`, `damaged`, `incomplete`.

    Raises:
        OSError: The directory cannot be listed, or is not this user's own.
    """

def drop_journal(state_dir: str | PathLike[str], name: str, destination: str | None) -> int:
    """Give up what waits in the journal of a process that ended, for one destination or for all.

    Raises:
        OSError: There is no such journal or destination, or its process lives.
    """

def quarantine(state_dir: str | PathLike[str]) -> list[dict[str, Any]]:
    """The damaged segments that were kept: `name`, `bytes`, `destinations`, records `readable` and `damaged`, `requeued` before."""

def requeue_quarantine(state_dir: str | PathLike[str]) -> dict[str, int]:
    """Put records of damaged segments back among the journals: how many were `requeued`, are `damaged`, and are `left`.

    Raises:
        OSError: They cannot be put back; they are kept where they are.
    """

def normalize_usage(
    report: str, family: str | None = None, provider: str | None = None
) -> tuple[dict[str, Any], Decimal | None] | None:
    """Counts by unit from a provider's usage object.

    Args:
        report: The object as JSON text.
        family: Its format, where the fields do not tell.
        provider: The provider; some report a cost, each in a field of its own.

    Returns:
        The counts and the cost that the provider reports; `None` when the object has no counts.
    """

def check_catalog(text: str) -> None:
    """Check a price catalog.

    Raises:
        CatalogError: The text is not a catalog; the message says why.
    """

def check_overrides(text: str) -> None:
    """Check rates, multipliers and aliases.

    Raises:
        ConfigError: One of them is invalid; the message names it.
    """

def embedded_catalog(*, long_tail: bool = False) -> str:
    """The catalog that this version was built with, or the long tail, as JSON."""

@final
class Encoding:
    """How a text is split into tokens: an embedded encoding by its name, or a tokenizer that was registered.

    One is shared by all threads. Texts are `str`; halves of surrogate pairs in them are treated as `tiktoken` does.
    """

    @property
    def name(self) -> str:
        """The encoding's name, or the prefix of a registered tokenizer."""

    @property
    def n_vocab(self) -> int:
        """The largest number of a token, and one."""

    @property
    def max_token_value(self) -> int:
        """The largest number of a token."""

    @property
    def eot_token(self) -> int | None:
        """The token that ends a text, if there is one."""

    @property
    def special_tokens_set(self) -> frozenset[str]:
        """The special tokens' texts."""

    def count(self, text: str) -> int:
        """The number of tokens of a text: what `len(encode_ordinary(text))` is, without making the list."""

    def count_batch(self, texts: Iterable[str]) -> list[int]:
        """As `count` for each of many texts, on as many cores as they are worth."""

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] | tuple[str, ...] | list[str] | None = None,
        disallowed_special: Literal["all"] | AbstractSet[str] | tuple[str, ...] | list[str] | None = None,
    ) -> list[int]:
        """The tokens of a text, with `tiktoken`'s rules for special ones.

        Args:
            text: the text.
            allowed_special: special tokens that stand for themselves: `"all"` or a collection; by default none.
            disallowed_special: special tokens that must not be in the text: a collection, or `"all"`, which is the default, for
                those that are not allowed.

        Raises:
            ValueError: a disallowed one is in the text.
        """

    def encode_ordinary(self, text: str) -> list[int]:
        """The tokens of a text in which nothing is special."""

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of tokens; `errors` is for tokens that end within a character, as in `bytes.decode`.

        Raises:
            KeyError: a number is no token.
        """

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens, which need not be UTF-8."""

def destination_schemes() -> list[str]:
    """The schemes of URLs that name a destination, such as `cloudevents+https`."""

def check_destination(destination: dict[str, Any]) -> None:
    """Checks a destination as `Meter.configure` takes it.

    Raises:
        ConfigError: an argument breaks its rule; the message repeats no URL and no header.
    """

def cloud(aws: str, azure: str, gcp: str) -> tuple[str, str | None]:
    """The cloud that this machine is in, asked of these base URLs; takes a second at most.

    Returns:
        `aws`, `azure`, `gcp` or `on-prem`, and the machine's id there. An answer counts only in the cloud's own form.
    """

def encoding(name: str) -> Encoding:
    """The embedded encoding of a name, which is loaded when it is asked for first.

    Args:
        name: `o200k_base`, `o200k_harmony`, `cl100k_base`, `p50k_base`, `p50k_edit`, `r50k_base` or `gpt2`.

    Raises:
        UnknownNameError: no encoding has this name; the message lists the nearest names.
    """

def encoding_of(model: str) -> str | None:
    """The name of the encoding that OpenAI says a model has."""

def registered_for(model: str) -> Encoding | None:
    """The tokenizer that is registered for a model."""

def register_tokenizer(prefix: str, path: str | PathLike[str]) -> None:
    """Register a `tokenizer.json` for the models whose names begin with a prefix."""

def unknown_model(model: str, known: Sequence[str]) -> Exception:
    """The exception for a model that is not among those that are known."""
