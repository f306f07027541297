"""Makes texts from events, files and servers safe to show."""

from __future__ import annotations

from typing import Final

__all__ = ["printable", "spreadsheet_cell"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    r"""Escape the characters that are not printable: control characters, line breaks, marks of direction, halves of surrogate pairs.

    They could move the cursor of a terminal, reverse the text around them, look like another line of a log, or fail to encode.

    Args:
        text: The text, which may come from anywhere.

    Returns:
        The text on one line, with escapes such as `\x1b` and `\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def spreadsheet_cell(text: str) -> str:
    """Return a text for a cell of CSV. Spreadsheets run a text that begins like a formula, so it gets an apostrophe in front."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)
