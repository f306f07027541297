"""Counts tokens: how many tokens a text has for a model, and whether the number is exact.

For OpenAI models, counts are those of `tiktoken`. Models with a registered `tokenizer.json` are counted with it. For all other
models, the count is an estimate, and says so: it uses `cl100k_base`, or the number of words if the model has no rates for tokens.
"""

from __future__ import annotations

from .count import count_tokens
from .messages import count_messages
from .models import Encoding, ModelEncoding, TokenCount, encoding, encoding_for_model, register_tokenizer

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
