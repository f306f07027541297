"""Builds the price catalogs in data/, and the table of hosts, from the installed packages `genai-prices` and `litellm`.

`catalog.json` is the committed catalog with the data of genai-prices merged into it. Entries that the data drops are kept as retired.
Rates that it replaces end on the day of the refresh. Rates that change more than tenfold are held back. Data that lost more than a
tenth of its models is rejected. The same packages always produce the same bytes. `long_tail.json` has the providers that only
litellm's table lists, with prices of tokens, images and queries only.

    python scripts/refresh_catalog.py                 write both, and print what changed
    python scripts/refresh_catalog.py --check         write nothing; fail if a file would change
    python scripts/refresh_catalog.py --cross-check   print where genai-prices and litellm differ, and by how much
    python scripts/refresh_catalog.py --accept openai/gpt-4o    accept a held-back rate

Run it in the development environment.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from datetime import date
from importlib import metadata, util
from pathlib import Path
from typing import Any

import litellm_table
from genai_prices import data, types

from taximeter.catalog import document, genai, merge
from taximeter.errors import CatalogError

ROOT = Path(__file__).parent.parent
CATALOG, LONG_TAIL = ROOT / "data" / "catalog.json", ROOT / "data" / "long_tail.json"
HOSTS = ROOT / "python" / "taximeter" / "instrument" / "catalog_hosts.py"


def raw(value: Any) -> Any:
    """Convert the package's objects to the form of its public data."""
    match value:
        case types.ClauseEquals() | types.ClauseStartsWith() | types.ClauseEndsWith() | types.ClauseContains() | types.ClauseRegex():
            (field,) = dataclasses.fields(value)
            return {field.name: getattr(value, field.name)}
        case types.ClauseOr() | types.ClauseAnd():
            (field,) = dataclasses.fields(value)
            return {field.name.removesuffix("_"): raw(getattr(value, field.name))}
        case types.ModelPrice():
            return {key: raw(rate) for key, rate in vars(value).items()}
        case types.StartDateConstraint() | types.TimeOfDateConstraint():
            return {field.name: getattr(value, field.name).isoformat() for field in dataclasses.fields(value)}
        case list() | tuple():
            return [raw(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: raw(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def provenance(source: str, version: str, file: Path, licence: str, as_of: str) -> dict[str, Any]:
    return {
        "schema": document.SCHEMA,
        "currency": "USD",
        "source": source,
        "version": version,
        "as_of": as_of,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "licence": licence,
        "script": "scripts/refresh_catalog.py",
    }


def package_catalog(as_of: str) -> dict[str, Any]:
    """Return the catalog that the installed genai-prices alone produces."""
    providers, _ = genai.from_genai([raw(dataclasses.replace(provider, extractors=None)) for provider in data.providers])
    assert_exact_names_come_first()
    licence = "MIT, Copyright Pydantic Services Inc. 2025 to present"
    head = provenance("genai-prices", metadata.version("genai-prices"), Path(data.__file__), licence, as_of)
    return document.seal({**head, "providers": providers}, head["version"])


def assert_exact_names_come_first() -> None:
    """Check that looking up exact names before patterns, as the core does, finds the same models as the package's own order."""
    for provider in data.providers:
        for model in provider.models:
            for name in exact_names(model.match):
                first = provider.find_model(name)
                owner = next(one for one in provider.models if name in {*exact_names(one.match)})
                if first is not owner:
                    raise SystemExit(f"{provider.id}: {name!r} is a name of {owner.id}, but a pattern finds {first} first")


def exact_names(rule: Any) -> list[str]:
    match rule:
        case types.ClauseEquals():
            return [rule.equals.lower()]
        case types.ClauseOr():
            return [name for part in rule.or_ for name in exact_names(part)]
    return []


def litellm_file() -> Path:
    """Return the path of litellm's table. The package is not imported, because that takes seconds and looks for updates online."""
    found = util.find_spec("litellm")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("litellm is not installed: make .venv/.dev-ready")
    return Path(found.submodule_search_locations[0]) / "model_prices_and_context_window_backup.json"


def render_long_tail(catalog: dict[str, Any]) -> str:
    file = litellm_file()
    providers = litellm_table.long_tail(litellm_table.read(file), {provider["id"] for provider in catalog["providers"]})
    licence = "MIT, Copyright 2023 Berri AI"
    head = provenance("litellm", metadata.version("litellm"), file, licence, "")
    return document.render({**head, "providers": providers})


def render_hosts(catalog: dict[str, Any]) -> str:
    """Render the addresses of the catalog's providers as a Python module. Of two providers at one address, the first counts."""
    patterns: dict[str, str] = {}
    for provider in catalog["providers"]:
        patterns.setdefault(provider["api"], provider["id"])
    rows = "".join(f"    ({json.dumps(name)}, {json.dumps(pattern)}),\n" for pattern, name in patterns.items() if pattern)
    return f'''"""The addresses of the catalog's providers. `scripts/refresh_catalog.py` writes this file."""

from __future__ import annotations

from typing import Final

__all__ = ["PATTERNS"]

# fmt: off
PATTERNS: Final = (
{rows})
# fmt: on
"""Providers by their ids in the catalog, and regular expressions of their URLs."""
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    parser.add_argument("--cross-check", action="store_true", help="print where the two sources differ")
    parser.add_argument("--accept", action="append", default=[], metavar="PROVIDER/MODEL", help="accept a held-back rate")
    arguments = parser.parse_args()

    committed = json.loads(CATALOG.read_text("utf-8")) if CATALOG.exists() else None
    if arguments.cross_check and committed is not None:
        print(litellm_table.cross_check(committed, litellm_table.read(litellm_file())))
        return 0
    today = date.today()  # noqa: DTZ011 - the reviewer's local date
    new = package_catalog(today.isoformat())
    if committed is None:
        merged = merge.Merged(new)
    else:
        try:
            merged = merge.merge(committed, new, today=today, accept=arguments.accept)
        except CatalogError as error:
            raise SystemExit(str(error)) from None
        merged.document = document.seal(merged.document, metadata.version("genai-prices"))
        if merged.document["version"] == committed["version"]:
            merged.document["as_of"] = committed["as_of"]
    written = {
        CATALOG: document.render(merged.document),
        LONG_TAIL: render_long_tail(merged.document),
        HOSTS: render_hosts(merged.document),
    }
    stale = [path.name for path, text in written.items() if not path.exists() or path.read_text("utf-8") != text]
    if arguments.check:
        for change in merged.held:
            sys.stderr.write(f"held back and not accepted: {change}\n")
        if stale:
            sys.stderr.write(f"{', '.join(stale)} differ from what the installed packages produce\n")
        return 1 if stale or merged.held else 0
    for path, text in written.items():
        path.write_text(text, "utf-8")
    report(merged, stale)
    return 0


def report(merged: merge.Merged, written: list[str]) -> None:
    for change in merged.changes:
        print(change)
    for title, entries in (
        ("held back, moved more than tenfold", merged.held),
        ("kept, missing from the source", merged.kept),
        ("dated, replaced by the source", merged.dated),
    ):
        for entry in entries:
            print(f"{title}: {entry}")
    sys.stderr.write(f"{len(merged.changes)} changes; written: {', '.join(written) or 'nothing new'}\n")


if __name__ == "__main__":
    sys.exit(main())
