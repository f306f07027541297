"""The command that counts tokens."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from .. import _default, files, tokens
from .common import Add
from .render import answer, counted

__all__ = ["add_commands"]

_STDIN: Final = "-"


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    command = add("tokens", _tokens, "count the tokens of a text")
    command.add_argument("file", metavar="FILE", help="a UTF-8 text file; - for standard input")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="M", help="count with this model's tokenizer")
    which.add_argument("--encoding", metavar="NAME", help="count with this encoding")
    command.add_argument("--provider", help="the provider, if the model's name does not identify it")
    command.add_argument("--cost", action="store_true", help="print what this many input tokens cost")


def _tokens(options: argparse.Namespace) -> int:
    if options.cost and options.model is None:
        raise ValueError("--cost needs --model")
    if options.file == _STDIN and sys.stdin is None:
        raise ValueError("standard input is closed")
    try:
        content = sys.stdin.buffer.read() if options.file == _STDIN else Path(options.file).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"FILE: there is no file {options.file!r}; for a text, pipe it to taximeter tokens") from None
    try:
        # A byte order mark is not part of the text.
        text = files.decode(content)
    except UnicodeDecodeError as error:
        raise ValueError(f"{options.file} is not a UTF-8 text: byte {error.start} is invalid") from None
    count = tokens.count_tokens(text, options.model, provider=options.provider, encoding=options.encoding)
    cost = _default.price(options.model, {"input_tokens": count.tokens}, options.provider) if options.cost else None
    if options.json:
        fields: dict[str, object] = {"model": options.model, **count._asdict()}
        if cost is not None:
            fields["cost_usd"] = None if cost.usd is None else f"{cost.usd:f}"
        answer(options, [fields])
    else:
        print(f"{counted(count.tokens, 'token')} ({count.encoding}, {'exact' if count.exact else 'an estimate'})")
        if cost is not None:
            print("the price is unknown" if cost.usd is None else f"${cost.usd:f} as input of {options.model}")
    return 0 if cost is None or cost.usd is not None else 1
