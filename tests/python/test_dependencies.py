"""The crates in the extension: their licences, their sources, and banned ones (`deny.toml`)."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from conftest import ROOT

tomllib = pytest.importorskip("tomllib")

RULES = tomllib.loads((ROOT / "deny.toml").read_text())
LOCKED = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Return whether allowed licences satisfy an SPDX expression. `AND` needs both sides, `OR` (formerly `/`) needs one."""
    words = re.findall(r"[()]|(?:(?!\)|\bOR\b|\bAND\b|/)[^()\s]|(?<=\S) WITH (?=\S))+|OR|AND|/", expression.replace("/", " / "))
    words = ["OR" if word == "/" else word for word in words]

    def term() -> bool:
        word = words.pop(0)
        if word == "(":
            result = either()
            assert words.pop(0) == ")", expression
            return result
        return word in allowed

    def both() -> bool:
        result = term()
        while words[:1] == ["AND"]:
            words.pop(0)
            result = term() and result
        return result

    def either() -> bool:
        result = both()
        while words[:1] == ["OR"]:
            words.pop(0)
            result = both() or result
        return result

    result = either()
    assert not words, (expression, words)
    return result


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("MIT OR GPL-3.0", True),
        ("GPL-3.0/MIT", True),
        ("MIT AND GPL-3.0", False),
        ("(GPL-3.0 OR MIT) AND Unicode-3.0", True),
        ("GPL-3.0 OR MIT AND LGPL-2.1", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH Some-exception", False),
    ],
)
def test_licence_expressions_are_parsed(expression, met):
    assert satisfied(expression, {"MIT", "Unicode-3.0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}) == met


def test_every_crate_has_an_allowed_licence():
    host = re.search(r"host: (\S+)", subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout)
    # Crates for other platforms are not downloaded here.
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--all-features", "--filter-platform", host[1]]
    metadata = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    allowed = set(RULES["licenses"]["allow"])
    refused = {one["name"]: one["license"] for one in metadata["packages"] if not satisfied(one["license"] or "none", allowed)}
    assert refused == {}
    assert len(metadata["packages"]) > 100


def test_no_crate_is_banned_or_from_another_registry():
    for ban in RULES["bans"]["deny"]:
        users = {one["name"] for one in LOCKED if ban["crate"] in {name.split()[0] for name in one.get("dependencies", ())}}
        assert users <= set(ban.get("wrappers", ())), ban
    allowed = {f"registry+{url}" for url in RULES["sources"]["allow-registry"]}
    assert {one["source"] for one in LOCKED if "source" in one} <= allowed
    assert [one["name"] for one in LOCKED if "source" not in one] == ["taximeter"]


def test_the_fuzz_targets_build_with_the_crates_of_the_extension():
    """`make fuzz` builds with `--locked`, which fails if its lock lacks a crate."""
    crates = tomllib.loads((ROOT / "Cargo.toml").read_text())
    tables = [crates, *crates["target"].values()]
    needed = {name for table in tables for name in table["dependencies"]}
    packages = tomllib.loads((ROOT / "fuzz/Cargo.lock").read_text())["package"]
    (own,) = [package for package in packages if package["name"] == "taximeter"]
    locked = {name.split()[0] for name in own["dependencies"]}
    # Without the bindings of Python.
    assert needed - {"pyo3"} <= locked, "run `cargo metadata` in fuzz/"
