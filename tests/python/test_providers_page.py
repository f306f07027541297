"""The table in `docs/providers.md` lists the cases of the tests. Each case fails its own test if it does not hold.

`WRITE_PROVIDERS_PAGE=1 pytest tests/python/test_providers_page.py` updates the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import version

import test_endpoints
import test_families
import test_instrument
import test_sockets
from conftest import ROOT

PAGE = ROOT / "docs" / "providers.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
PACKAGES = {
    "openai": "openai", "anthropic": "anthropic", "google.genai": "google-genai", "botocore": "boto3", "mistralai": "mistralai",
    "cohere": "cohere", "groq": "groq", "together": "together", "ollama": "ollama",
}  # fmt: skip
FAMILIES = {"gpt": "openai", "claude": "anthropic", "gemini": "google.genai", "bedrock": "botocore"}
ASYNCHRONOUS = {"openai", "anthropic", "botocore", *(FAMILIES.get(name, name) for name in test_families.ASYNC)}
REQUIREMENTS = "".join(path.read_text() for path in sorted((ROOT / "tests" / "environments").glob("*.txt")))


def marked_ways() -> Iterator[tuple[str, ...]]:
    """Yield the family and the ways that each test covers: `@pytest.mark.way(family, way, ...)`."""
    for module in (test_instrument, test_sockets, test_endpoints, test_families):
        for test in vars(module).values():
            yield from (mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "way")


def table() -> str:
    ways: dict[str, list[str]] = {name: [] for name in PACKAGES}
    for client, name, _, _ in test_instrument.CASES:
        ways[FAMILIES[client]].append(name)
    for family, *names in marked_ways():
        ways[family] += names
    for case in (*test_families.CASES, *test_endpoints.CASES):
        family, _, way = case.partition(": ")
        package, _, generation = family.partition(" ")
        ways[FAMILIES.get(package, package)].append(f"{generation} {way}".strip())
    lines = [
        "| client | versions run by the tests | ways to call, each one event with the provider's numbers | async |",
        "|---|---|---|---|",
    ]
    for name, package in PACKAGES.items():
        others = set(re.findall(rf"^{package}==(\S+)", REQUIREMENTS, re.MULTILINE))
        versions = sorted({version(package), *others}, key=lambda text: [int(part) for part in text.split(".")])
        lines.append(f"| `{name}` | {', '.join(versions)} | {', '.join(ways[name])} | {'yes' if name in ASYNCHRONOUS else ''} |")
    return "\n".join(lines)


def test_the_page_matches_the_cases():
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    if os.environ.get("WRITE_PROVIDERS_PAGE"):
        PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
    else:
        assert old.strip() == table(), "write it anew with WRITE_PROVIDERS_PAGE=1"
