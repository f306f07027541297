"""Counting tokens: how many a text has for a model, and how sure that is.

For models of OpenAI's the number is what `tiktoken` says. A model whose `tokenizer.json` was registered is counted by it. For all
others it is an estimate, and says so: in `cl100k_base`, or, where a model's price is not one for tokens, by the word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _core
from ._core import Encoding, encoding

if TYPE_CHECKING:
    from .meter import Meter

__all__ = [
    "Encoding",
    "ModelEncoding",
    "TokenCount",
    "count_messages",
    "count_tokens",
    "encoding",
    "encoding_for_model",
    "register_tokenizer",
]

_WORDS: Final = "words"
_APPROXIMATION: Final = "cl100k_base"
_TOKENS_PER_WORD: Final = 1.3
"""Both are the rule that Paygent's README gives for models without a tokenizer of their own."""

_NEWEST: Final = "o200k_base"
_OPENAI: Final = frozenset({"openai", "azure"})
"""OpenAI's models that no table lists yet are nearer to its newest encoding than to the one before."""

# What a chat adds to its texts: OpenAI's cookbook, "How to count tokens with tiktoken", which calls the result an estimate.
_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_REPLY: Final = 3
_PER_FUNCTION: Final = {"o200k_base": 7, "o200k_harmony": 7}
_PER_FUNCTION_BEFORE: Final = 10
_PROPERTIES: Final = 3
_PER_PROPERTY: Final = 3
_ENUM: Final = -3
_PER_ENUM_VALUE: Final = 3
_FUNCTIONS: Final = 12

_TEXTS: Final = frozenset({"role", "name", "tool_call_id", "refusal", "reasoning_content"})
"""Fields of a message that are texts."""

_DEEPEST: Final = 32
"""Schemas within schemas that are read; a definition that contains itself ends there."""


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


def count_tokens(text: str, model: str | None = None, *, provider: str | None = None, encoding: str | None = None) -> TokenCount:
    """Count the tokens of a text.

    Args:
        text: the text. What looks like a special token is counted as text.
        model: a model's name, as in `price()`.
        provider: the provider, where the model's name does not tell, as in `price()`.
        encoding: in place of a model, the name of an encoding, or `"words"` for 1.3 tokens a word.

    Returns:
        The number, the encoding's name, and whether the number is exact.

    Raises:
        TypeError: the text is no `str`, or neither or both of `model` and `encoding` are given.
        UnknownNameError: there is no such model or encoding; the message lists the nearest names.
    """
    return _count([_text(text, "text")], model, provider, encoding)


def _count(texts: Sequence[str], model: str | None, provider: str | None, encoding: str | None) -> TokenCount:
    """The tokens of all texts together."""
    if (model is None) == (encoding is None):
        raise TypeError("give either model or encoding")
    if model is not None:
        found = encoding_for_model(model, provider)
    else:
        name = _text(encoding, "encoding")
        found = ModelEncoding(None, exact=False) if name == _WORDS else ModelEncoding(_core.encoding(name), exact=True)
    if found.encoding is None:
        return TokenCount(int(sum(len(text.split()) for text in texts) * _TOKENS_PER_WORD), _WORDS, exact=False)
    tokens = found.encoding.count(texts[0]) if len(texts) == 1 else sum(found.encoding.count_batch(texts))
    return TokenCount(tokens, found.encoding.name, found.exact)


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
    name = _text(model, "model")
    own = _own(name)
    if own is None:
        known = _known(name, None if provider is None else _text(provider, "provider"))
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
"""Answers of the catalog, by what was asked and the prices in force. No more than `_MOST_ANSWERS`."""

_MOST_ANSWERS: Final = 1024


def _known(model: str, provider: str | None) -> _Known:
    from ._api import default_meter  # noqa: PLC0415 - counting with an encoding needs no meter

    settings = default_meter.settings
    key = (model, provider, default_meter.catalog, default_meter.catalog_as_of, settings and settings.prices.overrides)
    known = _answers.get(key)
    if known is None:
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        known = _answers[key] = _asked(default_meter, model, provider)
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
    from . import catalogs, refresh  # noqa: PLC0415 - few models need more than their price

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
        rates = catalogs.rates_in_force(refresh.current(meter))
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
    _core.register_tokenizer(_text(prefix, "prefix"), _text(place, "path"))


def count_messages(
    messages: Iterable[Mapping[str, Any]],
    model: str | None = None,
    *,
    tools: Iterable[Mapping[str, Any]] | None = None,
    provider: str | None = None,
    encoding: str | None = None,
) -> TokenCount:
    """Estimate the input tokens of a chat: its texts, and what the chat's form adds.

    Args:
        messages: mappings with `role`, and `content` as a text or as parts: their texts count, what tools were asked and answered,
            and thoughts. Images, audio and files do not.
        model: a model's name, as in `count_tokens()`.
        tools: the tools that are offered, in OpenAI's form (`{"type": "function", "function": {…}}`), as bare functions, or in
            Anthropic's form (`input_schema`). Those that a provider has built in count as their definition's text.
        provider: the provider, as in `count_tokens()`.
        encoding: in place of a model, as in `count_tokens()`.

    Returns:
        The number, never exact: what a chat adds is OpenAI's published approximation, which other providers are counted by, too.

    Raises:
        TypeError: something is of the wrong type; the message says where.
        UnknownNameError: as in `count_tokens()`.
    """
    texts: list[str] = []
    added = _REPLY
    for number, message in enumerate(_listed(messages, "messages")):
        where = f"messages[{number}]"
        added += _PER_MESSAGE
        for key, value in _mapping(message, where).items():
            if value is None:
                continue
            if key == "content":
                texts += _content(value, f"{where}['content']")
            elif key in _TEXTS:
                texts.append(_text(value, f"{where}[{key!r}]"))
                added += _PER_NAME if key == "name" else 0
            elif key in {"tool_calls", "function_call"}:
                texts.append(_json(value, f"{where}[{key!r}]"))
    functions = [] if tools is None else _listed(tools, "tools")
    for number, tool in enumerate(functions):
        function = _function(_mapping(tool, f"tools[{number}]"), f"tools[{number}]")
        texts += function.texts
        added += function.added
    counted = _count(texts, model, provider, encoding)
    if functions:
        added += _FUNCTIONS + len(functions) * _PER_FUNCTION.get(counted.encoding, _PER_FUNCTION_BEFORE)
    return TokenCount(counted.tokens + added, counted.encoding, exact=False)


def _listed(value: object, where: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{where} must be a sequence of mappings, not {type(value).__name__}")
    return list(value)


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a mapping, not {type(value).__name__}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a str, not {type(value).__name__}")
    return value


def _json(value: object, where: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{where} must be JSON: {error}") from None


def _content(value: object, where: str) -> list[str]:
    """The texts of a message's content: a text, or parts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{where} must be a str or a sequence of parts, not {type(value).__name__}")
    texts: list[str] = []
    for number, part in enumerate(value):
        place = f"{where}[{number}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        for key, inner in _mapping(part, place).items():
            if key in {"text", "thinking", "refusal"} and inner is not None:
                texts.append(_text(inner, f"{place}[{key!r}]"))
            elif key == "content" and inner is not None:
                # What a tool answered.
                texts += _content(inner, f"{place}['content']")
            elif key == "input" and part.get("type") == "tool_use":
                texts += [str(part.get("name") or ""), _json(inner, f"{place}['input']")]
    return texts


class _Function(NamedTuple):
    """The texts of a tool's definition, and what their form adds."""

    texts: list[str]
    added: int


def _function(tool: Mapping[str, Any], where: str) -> _Function:
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return _Function([_json(tool, where)], 0)
    texts = [f"{function['name']}:{_description(function)}"]
    return _Function(texts, _properties(function.get("parameters") or function.get("input_schema"), texts))


def _properties(schema: object, texts: list[str], depth: int = 0) -> int:
    """What the form of a schema's properties adds; their texts go to `texts`, and those of schemas within them."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return 0
    added = 0
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        added += _PROPERTIES
        for name, value in properties.items():
            # A schema may be just `true`.
            inner = value if isinstance(value, Mapping) else {}
            added += _PER_PROPERTY
            values = inner.get("enum")
            if isinstance(values, Sequence) and not isinstance(values, str):
                added += _ENUM + _PER_ENUM_VALUE * len(values)
                texts += [str(value) for value in values]
            texts.append(f"{name}:{inner.get('type', '')}:{_description(inner)}")
            added += _properties(inner, texts, depth + 1)
    within = [schema.get("items"), *(schema.get("$defs") or {}).values()]
    within += [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key) or ()]
    return added + sum(_properties(one, texts, depth + 1) for one in within)


def _description(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or "").removesuffix(".")
