"""Counting tokens: how many a text has for a model, and how sure that is.

For models of OpenAI's the number is what `tiktoken` says. A model whose `tokenizer.json` was registered is counted by it. For all
others it is an estimate, and says so: in `cl100k_base`, or, where a model's price is not one for tokens, by the word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _core
from ._core import Encoding, encoding

if TYPE_CHECKING:
    from os import PathLike

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


def count_tokens(text: str, model: str | None = None, *, encoding: str | None = None) -> TokenCount:
    """Count the tokens of a text.

    Args:
        text: the text. What looks like a special token is counted as text.
        model: a model's name, as in `price()`.
        encoding: in place of a model, the name of an encoding, or `"words"` for 1.3 tokens a word.

    Returns:
        The number, the encoding's name, and whether the number is exact.

    Raises:
        TypeError: the text is no `str`, or neither or both of `model` and `encoding` are given.
        UnknownNameError: there is no such model or encoding; the message lists the nearest names.
    """
    return _count([text], model, encoding)


def _count(texts: Sequence[str], model: object, encoding: object) -> TokenCount:
    """The tokens of all texts together."""
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
    if (model is None) == (encoding is None):
        raise TypeError("give either model or encoding")
    if model is not None:
        if not isinstance(model, str):
            raise TypeError(f"model must be a str, not {type(model).__name__}")
        found = encoding_for_model(model)
    else:
        if not isinstance(encoding, str):
            raise TypeError(f"encoding must be a str, not {type(encoding).__name__}")
        found = ModelEncoding(None, exact=False) if encoding == _WORDS else ModelEncoding(_core.encoding(encoding), exact=True)
    if found.encoding is None:
        return TokenCount(sum(int(len(text.split()) * _TOKENS_PER_WORD) for text in texts), _WORDS, exact=False)
    return TokenCount(sum(found.encoding.count_batch(texts)), found.encoding.name, found.exact)


@lru_cache(maxsize=1024)
def encoding_for_model(model: str) -> ModelEncoding:
    """The encoding to count a model's tokens with, and whether that is exact.

    Args:
        model: a model's name, as in `price()`. A host's namespace (`openai/gpt-4o`, `us.openai.gpt-oss-120b-1:0`) and the forms of
            fine-tuned models (`ft:gpt-4o:acme::1`) are understood.

    Returns:
        The tokenizer that was registered for it; for models of OpenAI's, their own encoding by the tables of `tiktoken` 0.14; for
        other models that the price catalog has, `cl100k_base` as an estimate, or no encoding if the price is not one for tokens.

    Raises:
        UnknownNameError: nobody knows the model; the message lists the nearest names.
    """
    if not isinstance(model, str):
        raise TypeError(f"model must be a str, not {type(model).__name__}")
    if (registered := _core.registered_for(model)) is not None:
        return ModelEncoding(registered, exact=True)
    if (name := _core.encoding_of(model)) is not None:
        return ModelEncoding(_core.encoding(name), exact=True)
    if _has_price_for_tokens(model):
        return ModelEncoding(_core.encoding(_APPROXIMATION), exact=False)
    return ModelEncoding(None, exact=False)


def _has_price_for_tokens(model: str) -> bool:
    from ._api import default_meter  # noqa: PLC0415 - counting alone needs no meter

    asked = {"input_tokens": 1, "output_tokens": 1}
    cost = default_meter.price(model, asked)
    if cost.model is None:
        # Names that several providers have are found by their provider alone.
        models = default_meter.models()
        match = next((entry for entry in models if model in {entry[1], f"{entry[0]}/{entry[1]}"}), None)
        if match is None:
            raise _core.unknown_model(model, [entry[1] for entry in models])
        cost = default_meter.price(match[1], asked, match[0])
    return cost.usd is not None


def register_tokenizer(prefix: str, path: str | PathLike[str]) -> None:
    """Count a family of models with their own tokenizer from now on.

    Args:
        prefix: what the models' names begin with, with or without a host's namespace: `"llama-3"`, `"meta-llama/Llama-3"`.
            Of several prefixes the longest counts.
        path: a `tokenizer.json` of Hugging Face's form. It is read now, and by their own library.

    Raises:
        ValueError: the prefix is empty, or the file is no tokenizer; the message says what is wrong with it.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
    _core.register_tokenizer(prefix, path)
    encoding_for_model.cache_clear()


def count_messages(
    messages: Iterable[Mapping[str, Any]],
    model: str | None = None,
    *,
    tools: Iterable[Mapping[str, Any]] | None = None,
    encoding: str | None = None,
) -> TokenCount:
    """Estimate the input tokens of a chat: its texts, and what the chat's form adds.

    Args:
        messages: mappings with `role`, and `content` as a text or as parts of which those of type `text` count; perhaps `name` and
            `tool_calls`. Images, audio and files are not counted.
        model: a model's name, as in `count_tokens()`.
        tools: the tools that are offered, in OpenAI's form (`{"type": "function", "function": {…}}`) or as bare functions.
        encoding: in place of a model, as in `count_tokens()`.

    Returns:
        The number, never exact: what a chat adds is OpenAI's published approximation, which other providers are counted by, too.
    """
    texts: list[str] = []
    added = _REPLY
    for number, message in enumerate(_listed("messages", messages)):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise TypeError(f"{where} must be a mapping, not {type(message).__name__}")
        added += _PER_MESSAGE
        for key, value in message.items():
            if key == "content":
                texts += _content(value, where)
            elif key in {"role", "name", "tool_call_id", "refusal"} and value is not None:
                texts.append(_text(value, f"{where}[{key!r}]"))
                added += _PER_NAME if key == "name" else 0
            elif key in {"tool_calls", "function_call"} and value:
                texts.append(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    functions = [] if tools is None else _listed("tools", tools)
    for number, tool in enumerate(functions):
        function = _function(tool, f"tools[{number}]")
        texts += function.texts
        added += function.added
    counted = _count(texts, model, encoding)
    if functions:
        added += _FUNCTIONS + len(functions) * _PER_FUNCTION.get(counted.encoding, _PER_FUNCTION_BEFORE)
    return TokenCount(counted.tokens + added, counted.encoding, exact=False)


def _listed(name: str, value: object) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence of mappings, not {type(value).__name__}")
    return list(value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a str, not {type(value).__name__}")
    return value


def _content(value: object, where: str) -> list[str]:
    """The texts of a message's content."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{where}['content'] must be a str or a sequence of parts, not {type(value).__name__}")
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
    return texts


class _Function(NamedTuple):
    """The texts of a tool's definition, and what their form adds."""

    texts: list[str]
    added: int


def _function(tool: object, where: str) -> _Function:
    if not isinstance(tool, Mapping):
        raise TypeError(f"{where} must be a mapping, not {type(tool).__name__}")
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise TypeError(f"{where} must be a function with a name")
    texts = [f"{function['name']}:{_description(function)}"]
    added = 0
    parameters = function.get("parameters") or function.get("input_schema") or {}
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    if isinstance(properties, Mapping) and properties:
        added += _PROPERTIES
        for name, value in properties.items():
            # A schema may be just `true`.
            schema = value if isinstance(value, Mapping) else {}
            added += _PER_PROPERTY
            values = schema.get("enum")
            if isinstance(values, Sequence) and not isinstance(values, str):
                added += _ENUM + _PER_ENUM_VALUE * len(values)
                texts += [str(value) for value in values]
            texts.append(f"{name}:{schema.get('type', '')}:{_description(schema)}")
    return _Function(texts, added)


def _description(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or "").removesuffix(".")
