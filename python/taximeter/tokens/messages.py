"""Estimates the input tokens of a chat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .count import count
from .models import TokenCount
from .values import as_json, listed, mapping, text

__all__ = ["count_messages"]

# The tokens that the chat format adds to the texts. Source: OpenAI's cookbook, "How to count tokens with tiktoken", which calls the
# result an estimate.
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
"""The fields of a message that are texts."""
_MAX_DEPTH: Final = 32
"""The most levels of nested schemas that are read, because a definition may contain itself."""


def count_messages(
    messages: Iterable[Mapping[str, Any]],
    model: str | None = None,
    *,
    tools: Iterable[Mapping[str, Any]] | None = None,
    provider: str | None = None,
    encoding: str | None = None,
) -> TokenCount:
    """Estimate the input tokens of a chat: those of its texts, and those that the chat format adds.

    Args:
        messages: Mappings with `role`, and with `content` as a text or as parts. Texts, thinking, and the calls and results of
            tools are counted. Images, audio and files are not.
        model: A model's name, as for `count_tokens()`.
        tools: The offered tools, in OpenAI's form (`{"type": "function", "function": {…}}`), as bare functions, or in Anthropic's
            form (`input_schema`). A built-in tool of a provider counts as the text of its definition.
        provider: The provider, as for `count_tokens()`.
        encoding: Instead of a model, as for `count_tokens()`.

    Returns:
        The number, which is never exact: what the chat format adds is OpenAI's published approximation, also for other providers.

    Raises:
        TypeError: An argument has a wrong type. The message says where.
        UnknownNameError: As for `count_tokens()`.
    """
    texts: list[str] = []
    added = _REPLY
    for number, message in enumerate(listed(messages, "messages")):
        where = f"messages[{number}]"
        added += _PER_MESSAGE
        for key, value in mapping(message, where).items():
            if value is None:
                continue
            if key == "content":
                texts += _content(value, f"{where}['content']")
            elif key in _TEXTS:
                texts.append(text(value, f"{where}[{key!r}]"))
                added += _PER_NAME if key == "name" else 0
            elif key in {"tool_calls", "function_call"}:
                texts.append(as_json(value, f"{where}[{key!r}]"))
    functions = [] if tools is None else listed(tools, "tools")
    for number, tool in enumerate(functions):
        function = _function(mapping(tool, f"tools[{number}]"), f"tools[{number}]")
        texts += function.texts
        added += function.added
    counted = count(texts, model, provider, encoding)
    if functions:
        added += _FUNCTIONS + len(functions) * _PER_FUNCTION.get(counted.encoding, _PER_FUNCTION_BEFORE)
    return TokenCount(counted.tokens + added, counted.encoding, exact=False)


def _content(value: object, where: str) -> list[str]:
    """Return the texts of a message's content, which is a text or a sequence of parts."""
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
        for key, inner in mapping(part, place).items():
            if key in {"text", "thinking", "refusal"} and inner is not None:
                texts.append(text(inner, f"{place}[{key!r}]"))
            elif key == "content" and inner is not None:
                # The result of a tool.
                texts += _content(inner, f"{place}['content']")
            elif key == "input" and part.get("type") == "tool_use":
                texts += [str(part.get("name") or ""), as_json(inner, f"{place}['input']")]
    return texts


class _Function(NamedTuple):
    """The texts of a tool's definition, and the number of tokens that its form adds."""

    texts: list[str]
    added: int


def _function(tool: Mapping[str, Any], where: str) -> _Function:
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return _Function([as_json(tool, where)], 0)
    texts = [f"{function['name']}:{_description(function)}"]
    return _Function(texts, _properties(function.get("parameters") or function.get("input_schema"), texts))


def _properties(schema: object, texts: list[str], depth: int = 0) -> int:
    """Return how many tokens the form of a schema's properties adds. Appends their texts, nested ones included, to `texts`."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return 0
    added = 0
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        added += _PROPERTIES
        for name, value in properties.items():
            # A schema may be just `true`, which is not a mapping.
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
