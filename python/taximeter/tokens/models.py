"""Which encoding counts a model's tokens, and whether that is exact."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import _core
from .._core import Encoding, encoding
from ..meter import get_default
from .values import text

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["Encoding", "ModelEncoding", "TokenCount", "encoding", "encoding_for_model", "register_tokenizer"]

_APPROXIMATION: Final = "cl100k_base"
_NEWEST: Final = "o200k_base"
_OPENAI: Final = frozenset({"openai", "azure"})
"""OpenAI's models that no table lists yet are nearer to its newest encoding than to the one before."""


class TokenCount(NamedTuple):
    """A number of tokens, and how it came about."""

    tokens: int
    encoding: str
    """The encoding's name; the prefix of a registered tokenizer; `"words"` for an estimate by the word."""
    exact: bool
    """Whether the model's own tokenizer counted; otherwise it is an estimate."""


class ModelEncoding(NamedTuple):
    """The encoding to count a model's tokens with."""

    encoding: Encoding | None
    """`None` where no encoding applies, and words are counted."""
    exact: bool
    """Whether it is the model's own; otherwise counts are estimates."""


def encoding_for_model(model: str, provider: str | None = None) -> ModelEncoding:
    """The encoding to count a model's tokens with, and whether that is exact.

    Args:
        model: a model's name, as in `price()`, in any case. A host's namespace (`openai/gpt-4o`, `us.openai.gpt-oss-120b-1:0`) and
            the form of fine-tuned models (`ft:gpt-4o:acme::1`) are understood, and so are aliases of yours.
        provider: the provider, where the model's name does not tell, as in `price()`.

    Returns:
        The tokenizer that was registered for it; for models of OpenAI's, their own encoding by the tables of `tiktoken` 0.14; for
        those that it does not list, `o200k_base` as an estimate; for other models that the price catalog has, `cl100k_base` as an
        estimate, or no encoding if the price is for seconds, characters or pages alone.

    Raises:
        TypeError: the model is no `str`.
        UnknownNameError: the model is unknown; the message lists the nearest names.
    """
    name = text(model, "model")
    own = _own(name)
    if own is None:
        known = _known(name, None if provider is None else text(provider, "provider"))
        # The catalog may know it as another's: an alias, or a name with a date after it.
        own = _own(known.name)
        if own is None:
            approximation = _NEWEST if known.provider in _OPENAI else _APPROXIMATION
            return ModelEncoding(None if known.is_wordless else _core.encoding(approximation), exact=False)
    return own


def _own(model: str) -> ModelEncoding | None:
    """The encoding of a registered model or of one of OpenAI's."""
    if (registered := _core.registered_for(model)) is not None:
        return ModelEncoding(registered, exact=True)
    found = _core.encoding_of(model)
    return None if found is None else ModelEncoding(_core.encoding(found), exact=True)


class _Known(NamedTuple):
    """What the price catalog says of a model."""

    provider: str | None
    name: str
    is_wordless: bool
    """Whether it is priced, and not for tokens."""


_answers: dict[tuple[object, ...], _Known] = {}
"""Answers of the catalog, by what was asked and the prices in force. No more than `_MAX_ANSWERS`."""
_MAX_ANSWERS: Final = 1024


def _known(model: str, provider: str | None) -> _Known:
    meter = get_default()
    settings = meter.settings
    key = (model, provider, meter.catalog, meter.catalog_as_of, settings and settings.prices.overrides)
    known = _answers.get(key)
    if known is None:
        if len(_answers) >= _MAX_ANSWERS:
            _answers.clear()
        known = _answers[key] = _asked(meter, model, provider)
    return known


class _Index(NamedTuple):
    """The entries of the price catalogs in force, found by name."""

    key: tuple[object, ...]
    """The catalogs it was made of."""
    models: list[str]
    names: dict[str, list[str]]
    """`provider/model` in lower case, by that and by the model alone."""
    units: dict[str, tuple[str, ...]]
    """The units that have a rate, by `provider/model` in lower case."""


_last_index: _Index | None = None


def _index(meter: Meter) -> _Index:
    """Reading a catalog takes 30 ms, so its index is kept until another catalog is in force."""
    from ..catalog.document import rates_in_force  # noqa: PLC0415 - few models need more than their price

    global _last_index  # noqa: PLW0603 - at worst two threads make the same one
    entries = meter.models()
    key = (meter.catalog, meter.catalog_as_of, len(entries), meter.settings and meter.settings.root)
    found = _last_index
    if found is None or found.key != key:
        names: dict[str, list[str]] = {}
        for provider, model, *_ in entries:
            name = f"{provider}/{model}".lower()
            for spelling in {name, model.lower()}:
                names.setdefault(spelling, []).append(name)
        rates = rates_in_force(meter.catalog_document())
        units = {name.lower(): tuple(by_unit) for name, by_unit in rates}
        found = _last_index = _Index(key, [entry[1] for entry in entries], names, units)
    return found


def _asked(meter: Meter, model: str, provider: str | None) -> _Known:
    # Halves of surrogate pairs are in no name.
    model = model.encode(errors="replace").decode()
    if not model.strip():
        raise _core.unknown_model(model, [])
    # Bedrock's own names are the one case in which the provider cannot be left out of the question.
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
    """Count a family of models with their own tokenizer from now on.

    Args:
        prefix: what the models' names begin with, with or without a host's namespace: `"llama-3"`, `"meta-llama/Llama-3"`.
            In any case of letters; of several prefixes the longest counts.
        path: a `tokenizer.json` of Hugging Face's form. It is read now, and by their own library.

    Raises:
        TypeError: the prefix is no `str`, or the path none.
        ValueError: the prefix is empty, or the file is no tokenizer; the message says what is wrong with it.
    """
    place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    _core.register_tokenizer(text(prefix, "prefix"), text(place, "path"))
