"""The fields of an event: one table that defines types, attribution, keywords, headers and environment variables.

The rows are the annotations of `AttributionFields`, `MeasureFields` and `TrackFields`: a field's name, type and meaning. `FIELDS` has
them as values. A new field needs one row here, and one keyword of `_core.Meter.track`. A test compares that signature with the table.
"""

# No `from __future__ import annotations`, because this module reads its annotations at run time.

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

if TYPE_CHECKING:
    from decimal import Decimal

    from .types import AttributionValue, CallStatus, Time, UsageStatus

__all__ = [
    "ATTRIBUTION",
    "FIELDS",
    "HEADER_PREFIX",
    "KEYWORD_PREFIX",
    "TAGS",
    "TRACK",
    "AttributionFields",
    "Field",
    "MeasureFields",
    "TrackFields",
    "check_names",
    "nearest",
    "unknown_name",
]

KEYWORD_PREFIX: Final = "taximeter_"
HEADER_PREFIX: Final = "x-taximeter-"
ENVIRONMENT_PREFIX: Final = "TAXIMETER_"
TAGS: Final = "tags"
"""The only attribution field that is a mapping. Each of its keys has its own header: `x-taximeter-tag-KEY`."""


class AttributionFields(TypedDict, total=False):
    """The attribution of a call: the fields of `attribute` and `init`, and of keywords and headers of clients."""

    agent: Annotated["AttributionValue", "The agent that makes the calls."]
    feature: Annotated["AttributionValue", "The product feature they are made for."]
    team: Annotated["AttributionValue", "The team that owns it."]
    customer: Annotated["AttributionValue", "The customer they are made for."]
    user: Annotated["AttributionValue", "The end user."]
    session: Annotated["AttributionValue", "The conversation or session."]
    tags: Annotated["Mapping[str, AttributionValue] | None", "Further dimensions to report by."]


class MeasureFields(AttributionFields, total=False):
    """The fields of a measured call, except its provider and model."""

    input_tokens: Annotated[int | None, "All input tokens, cached ones included."]
    output_tokens: Annotated[int | None, "All output tokens, reasoning included."]
    cache_read_tokens: Annotated[int | None, "Input tokens read from a cache."]
    cache_write_tokens: Annotated[int | None, "Input tokens written to a cache."]
    reasoning_tokens: Annotated[int | None, "Output tokens spent on reasoning."]
    usage: Annotated[
        "Mapping[str, float | None] | None", "Counts of further units by name; `UNITS` lists them. Seconds may be fractional."
    ]
    operation: Annotated[str | None, "OpenTelemetry's `gen_ai.operation.name`; `chat` by default."]
    latency_ms: Annotated[float | None, "From request to last byte, in milliseconds."]
    ttft_ms: Annotated[float | None, "From request to first token, in milliseconds."]
    status: Annotated["CallStatus | None", "`success` or `error`; by default the latter if there is an `error`."]
    error: Annotated[
        str | BaseException | type[BaseException] | None,
        "The exception, its class, or the class's name. Messages are not recorded.",
    ]
    finish_reason: Annotated[str | None, "Why generation stopped, in the provider's words."]
    service_tier: Annotated[str | None, "The tier that served the call; it can change the price."]
    region: Annotated[str | None, "The region that served the call."]
    batch: Annotated[bool | None, "Whether the call ran through a batch endpoint; it can change the price."]
    cost_usd: Annotated["Decimal | str | float | None", "What the provider says it costs, in US dollars."]
    started_at: Annotated["Time | None", "When the call began: an aware datetime, a date, an ISO 8601 text or seconds since 1970."]
    trace_id: Annotated[str | None, "W3C trace context, in hexadecimal."]
    span_id: Annotated[str | None, "W3C trace context, in hexadecimal."]
    parent_span_id: Annotated[str | None, "W3C trace context, in hexadecimal."]
    call_id: Annotated[str | None, "The id that the events of one call share, if it made several requests."]
    usage_status: Annotated["UsageStatus | None", "`complete`, `partial` or `missing`."]
    provider_usage: Annotated[str | None, "The provider's own report of usage, as the text of a JSON object of at most 2 KiB."]
    cost_notes: Annotated[str | None, "Limitations of the cost, comma-separated: `host_unknown`, `unaccounted_tokens`."]


class TrackFields(MeasureFields, total=False):
    """All keywords of `track`. Another keyword raises a `TypeError`."""

    provider: Annotated[str | None, "The provider that answered: OpenTelemetry's `gen_ai.provider.name` or a common alias."]
    model: Annotated[str | None, "The model that answered."]


class Field:
    """A field of an event, which is also a keyword of `track`.

    Args:
        name: The field's name.
        row: Its row in the table: an `Annotated` with its type and its meaning.
        is_attribution: Whether it is an attribution field.
    """

    __slots__ = ("doc", "is_attribution", "kind", "name")

    def __init__(self, name: str, row: Any, *, is_attribution: bool) -> None:
        self.name = name
        self.kind: Any = row.__origin__
        self.doc: str = row.__metadata__[0]
        self.is_attribution = is_attribution

    @property
    def keyword(self) -> str | None:
        """The keyword for calls of a client; `None` if they do not take the field."""
        return KEYWORD_PREFIX + self.name if self.is_attribution else None

    @property
    def header(self) -> str | None:
        """The header for calls of a client; `None` if they do not take the field, and for tags, which have one header each."""
        return HEADER_PREFIX + self.name if self.is_attribution and self.name != TAGS else None

    @property
    def environment(self) -> str | None:
        """The environment variable that sets the field for every event; `None` if the field has no variable."""
        return ENVIRONMENT_PREFIX + self.name.upper() if self.is_attribution else None


FIELDS: Final[Mapping[str, Field]] = {
    name: Field(name, row, is_attribution=name in AttributionFields.__annotations__)
    for name, row in TrackFields.__annotations__.items()
}
"""All fields by name."""

ATTRIBUTION: Final = tuple(name for name, field in FIELDS.items() if field.is_attribution and name != TAGS)
"""The names of the attribution fields that are texts."""

TRACK: Final = frozenset(FIELDS)
"""The names of all keywords of `track`. Another keyword raises a `TypeError`."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a name; `None` if none is similar."""
    from difflib import get_close_matches  # noqa: PLC0415 - takes a tenth of the package's import time; only for misspelt names

    return next(iter(get_close_matches(name, list(known), n=1)), None)


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with the most similar known name, or else all known names."""
    known = sorted(known)
    alike = nearest(name, known)
    return f"there is no {name!r}; " + (f"did you mean {alike!r}?" if alike else f"there are {', '.join(known)}")


def check_names(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Reject names that a function does not take.

    Raises:
        TypeError: A name is unknown. The message has the most similar known name.
    """
    known = frozenset(known)
    for name in given:
        if name not in known:
            raise TypeError(f"{function}(): {unknown_name(name, known)}")
