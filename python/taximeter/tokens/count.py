"""Counts the tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .. import _core
from .models import ModelEncoding, TokenCount, encoding_for_model
from .values import text as checked

__all__ = ["count", "count_tokens"]

_WORDS: Final = "words"
_TOKENS_PER_WORD: Final = 1.3
"""Both constants come from the rule in Paygent's README for models without their own tokenizer."""


def count_tokens(text: str, model: str | None = None, *, provider: str | None = None, encoding: str | None = None) -> TokenCount:
    """Count the tokens of a text.

    Args:
        text: The text. Special tokens in it are counted as ordinary text.
        model: A model's name, as for `price()`.
        provider: The provider, as for `price()`, if the model's name does not identify it.
        encoding: Instead of a model, the name of an encoding, or `"words"` for 1.3 tokens per word.

    Returns:
        The number, the encoding's name, and whether the number is exact.

    Raises:
        TypeError: The text is not a `str`, or neither or both of `model` and `encoding` are given.
        UnknownNameError: The model or the encoding is unknown. The message lists the nearest names.
    """
    return count([checked(text, "text")], model, provider, encoding)


def count(texts: Sequence[str], model: str | None, provider: str | None, encoding: str | None) -> TokenCount:
    """Count the tokens of all texts together."""
    if (model is None) == (encoding is None):
        raise TypeError("give exactly one of model and encoding")
    if model is not None:
        found = encoding_for_model(model, provider)
    else:
        name = checked(encoding, "encoding")
        found = ModelEncoding(None, exact=False) if name == _WORDS else ModelEncoding(_core.encoding(name), exact=True)
    if found.encoding is None:
        return TokenCount(int(sum(len(text.split()) for text in texts) * _TOKENS_PER_WORD), _WORDS, exact=False)
    tokens = found.encoding.count(texts[0]) if len(texts) == 1 else sum(found.encoding.count_batch(texts))
    return TokenCount(tokens, found.encoding.name, found.exact)
