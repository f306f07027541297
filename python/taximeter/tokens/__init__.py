"""Counting tokens: how many a text has for a model, and how sure that is.

For models of OpenAI's the number is what `tiktoken` says. A model whose `tokenizer.json` was registered is counted by it. For all
others it is an estimate, and says so: in `cl100k_base`, or, where a model's price is not one for tokens, by the word.
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
