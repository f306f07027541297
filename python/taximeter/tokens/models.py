"""Which encoding counts a model's tokens, and whether the count is exact."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import _core
from .._core import Encoding, encoding
from ..meter import engine_of, get_default
from .values import text

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["Encoding", "ModelEncoding", "TokenCount", "encoding", "encoding_for_model", "register_tokenizer"]

_APPROXIMATION: Final = "cl100k_base"
_NEWEST: Final = "o200k_base"
_OPENAI: Final = frozenset({"openai", "azure"})
"""OpenAI models that no table lists yet are estimated with its newest encoding."""


class TokenCount(NamedTuple):
    """A number of tokens, and how it was counted."""

    tokens: int
    """The number of tokens."""
    encoding: str
    """The name of the encoding; the prefix of a registered tokenizer; or `"words"` for an estimate from the number of words."""
    exact: bool
    """Whether the model's own tokenizer counted. Otherwise the number is an estimate."""


class ModelEncoding(NamedTuple):
    """The encoding to count a model's tokens with."""

    encoding: Encoding | None
    """The encoding; `None` if none applies, and words are counted."""
    exact: bool
    """Whether it is the model's own encoding. Otherwise counts are estimates."""


def encoding_for_model(model: str, provider: str | None = None) -> ModelEncoding:
    """Return the encoding to count a model's tokens with, and whether counts are exact.

    Args:
        model: A model's name as for `price()`, in any case. It may have a host's namespace (`openai/gpt-4o`,
            `us.openai.gpt-oss-120b-1:0`), the form of a fine-tuned model (`ft:gpt-4o:acme::1`), or be an alias from your settings.
        provider: The provider, as for `price()`, if the model's name does not identify it.

    Returns:
        With a registered tokenizer: that tokenizer. For OpenAI models in the tables of `tiktoken` 0.14: their own encoding. For other
        OpenAI models: `o200k_base` as an estimate. For other models of the price catalog: `cl100k_base` as an estimate, or no
        encoding if the model has rates only for other units than tokens, such as seconds, characters or pages.

    Raises:
        TypeError: The model is not a `str`.
        UnknownNameError: The model is unknown. The message lists the nearest names.
    """
    name = text(model, "model")
    own = _own(name)
    if own is None:
        known = _known(name, None if provider is None else text(provider, "provider"))
        # The catalog may know the model under another name: an alias, or a name without a date.
        own = _own(known.name)
        if own is None:
            approximation = _NEWEST if known.provider in _OPENAI else _APPROXIMATION
            return ModelEncoding(None if known.is_wordless else _core.encoding(approximation), exact=False)
    return own


def _own(model: str) -> ModelEncoding | None:
    """Return the encoding of a registered model or an OpenAI model, or `None`."""
    if (registered := _core.registered_for(model)) is not None:
        return ModelEncoding(registered, exact=True)
    found = _core.encoding_of(model)
    return None if found is None else ModelEncoding(_core.encoding(found), exact=True)


class _Known(NamedTuple):
    """A model in the price catalog."""

    provider: str | None
    name: str
    is_wordless: bool
    """Whether it has rates, and none of them is for tokens."""


_answers: dict[tuple[object, ...], _Known] = {}
"""A cache of catalog look-ups, by model, provider and the prices in force; at most `_MAX_ANSWERS`."""
_MAX_ANSWERS: Final = 1024


def _known(model: str, provider: str | None) -> _Known:
    meter = get_default()
    settings = meter.settings
    key = (model, provider, meter.catalog, meter.catalog_as_of, settings and settings.prices.overrides)
    known = _answers.get(key)
    if known is None:
        if len(_answers) >= _MAX_ANSWERS:
            _answers.clear()
        known = _answers[key] = _look_up(meter, model, provider)
    return known


class _Index(NamedTuple):
    """The entries of the price catalogs in force, by name."""

    key: tuple[object, ...]
    """Identifies the catalogs that the index was built from."""
    models: list[str]
    names: dict[str, list[str]]
    """The names `provider/model` in lower case, by themselves and by the model alone."""
    units: dict[str, tuple[str, ...]]
    """The units that have a rate, by `provider/model` in lower case."""


_last_index: _Index | None = None


def _index(meter: Meter) -> _Index:
    """Return the index of the catalogs in force. It is cached, because reading a catalog takes 30 ms."""
    from ..catalog.document import rates_in_force  # noqa: PLC0415 - few models need more than a price

    global _last_index  # noqa: PLW0603 - at worst, two threads build the same index
    entries = meter.models()
    key = (meter.catalog, meter.catalog_as_of, len(entries), meter.settings and meter.settings.root)
    found = _last_index
    if found is None or found.key != key:
        names: dict[str, list[str]] = {}
        for provider, model, *_ in entries:
            name = f"{provider}/{model}".lower()
            for spelling in {name, model.lower()}:
                names.setdefault(spelling, []).append(name)
        rates = rates_in_force(engine_of(meter).catalog_document())
        units = {name.lower(): tuple(by_unit) for name, by_unit in rates}
        found = _last_index = _Index(key, [entry[1] for entry in entries], names, units)
    return found


def _look_up(meter: Meter, model: str, provider: str | None) -> _Known:
    # Names contain no lone surrogates.
    model = model.encode(errors="replace").decode()
    if not model.strip():
        raise _core.unknown_model(model, [])
    # Bedrock's model names are found only with their provider.
    for asked in (provider,) if provider is not None else (None, "aws"):
        cost = meter.price(model, {"input_tokens": 1, "output_tokens": 1}, asked)
        if cost.model is not None and cost.usd is not None:
            return _Known(cost.provider, cost.model, is_wordless=False)
    index = _index(meter)
    matches = [name for name in index.names.get(model.lower(), ()) if provider in {None, name.partition("/")[0]}]
    if not matches and cost.model is not None:
        matches = [f"{cost.provider}/{cost.model}".lower()]
    if not matches:
        raise _core.unknown_model(model, index.models)
    units = [unit for name in matches for unit in index.units.get(name, ())]
    found, _, name = matches[0].partition("/")
    return _Known(found, name, is_wordless=bool(units) and not any("token" in unit for unit in units))


def register_tokenizer(prefix: str, path: str | os.PathLike[str]) -> None:
    """Register a tokenizer that counts the tokens of a family of models from now on.

    Args:
        prefix: The start of the models' names, with or without a host's namespace: `"llama-3"`, `"meta-llama/Llama-3"`. Case does not
            matter. If several prefixes match, the longest is used.
        path: A `tokenizer.json` in the format of Hugging Face. Their library reads it during this call.

    Raises:
        TypeError: The prefix is not a `str`, or the path is not a path.
        ValueError: The prefix is empty, or the file is not a valid tokenizer. The message says why.
    """
    place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    _core.register_tokenizer(text(prefix, "prefix"), text(place, "path"))
