"""Makes texts from events, files and servers safe to show."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, instead: str = "?") -> str:
    """Replace the characters that are not printable: control characters, line breaks, and halves of surrogate pairs.

    They could move the cursor of a terminal, look like another line of a log, or fail to encode.

    Args:
        text: The text, which may come from anywhere.
        instead: What stands in place of each such character.

    Returns:
        The text on one line.
    """
    return text if text.isprintable() else "".join(character if character.isprintable() else instead for character in text)
