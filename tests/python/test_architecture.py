"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from conftest import ROOT
from rust_files import Sources, circles, rooms_of, shortest

RUST = sorted((ROOT / "src").rglob("*.rs"))
PYTHON = sorted((ROOT / "python").rglob("*.py"))
LAYERS = {
    "event": {"money"},
    "money": set(),
    "pricing": {"event", "money"},
    "journal": {"sys"},
    "capture": {"event", "money"},
    "sys": set(),
    "tokens": set(),
    "ledger": {"event", "money", "sys"},
    "protocol": {"event"},
    "http": {"protocol", "event", "sys"},
    "delivery": {"event", "http", "journal", "ledger", "protocol", "sys"},
    "meter": {"event", "money", "pricing", "protocol", "journal", "delivery", "ledger", "sys"},
}


def module_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").parts[0].removesuffix(".rs")


def without_tests(text: str) -> str:
    return text.split("#[cfg(test)]")[0]


@pytest.mark.parametrize("path", RUST, ids=lambda path: str(path.relative_to(ROOT)))
def test_rust_modules_know_only_those_below_them(path):
    module = module_of(path)
    used = set(re.findall(r"\bcrate::(\w+)", without_tests(path.read_text())))
    if module in LAYERS:
        assert used - {module} <= LAYERS[module], path
    assert ("pyo3" in path.read_text()) <= (module == "py")
    assert "py" not in used or module == "py"


def test_no_rust_files_depend_on_each_other_in_a_circle():
    edges = Sources(ROOT / "src").edges()
    groups = circles(edges)
    found = {rooms_of(group): " -> ".join(shortest(edges, group)) for group in groups}
    assert not found, found


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # What a `mod.rs` only hands on is no circle, and comments, texts and tests name nothing.
        (
            {
                "lib.rs": "mod a;",
                "a/mod.rs": "mod b; mod c; pub use b::B; pub use c::*;",
                "a/b.rs": 'use super::C; // crate::a::D\npub struct B(C); const D: &str = "super::E";',
                "a/c.rs": "pub struct C; #[cfg(test)] mod tests { use super::super::B; fn f() { super::B } }",
            },
            [],
        ),
        # Re-exports, aliases, trees, inline paths and inline modules are followed to the file that defines.
        (
            {
                "lib.rs": "mod a; mod d;",
                "a/mod.rs": "mod b; pub use b::{self, B as Renamed};",
                "a/b.rs": "pub struct B(crate::d::D);",
                "d.rs": "pub struct D; mod inner { use super::super::a::{Renamed as Other}; }",
            },
            [["a/b.rs", "d.rs"]],
        ),
        (
            {
                "lib.rs": "mod a; mod b; mod c;",
                "a.rs": "pub fn a() { super::b::b() }",
                "b.rs": "pub fn b() { crate::c::C::new() }",
                "c.rs": "use crate::a; pub struct C; impl C { fn new() { a::a() } }",
            },
            [["a.rs", "b.rs", "c.rs"]],
        ),
        # What a parent defines and uses itself is one.
        (
            {"lib.rs": "mod a;", "a/mod.rs": "mod b; pub struct A; use b::B;", "a/b.rs": "use super::*; struct B(A);"},
            [["a/b.rs", "a/mod.rs"]],
        ),
    ],
)
def test_circles_are_found_where_they_are(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    edges = Sources(tmp_path).edges()
    assert circles(edges) == expected
    assert all(set(shortest(edges, group)) == set(group) for group in expected)


def test_unsafe_code_and_platforms_are_in_one_room():
    for path in RUST:
        text = path.read_text()
        if module_of(path) != "sys" and path != ROOT / "src" / "py" / "fastcall.rs":
            assert "unsafe" not in text.replace("unsafe_code", ""), path
            is_test = path.stem == "tests" or "tests" in path.parts
            assert is_test or not re.search(r"cfg\((not\()?(unix|windows|target_os)", without_tests(text)), path


# An epoch's journal is made under one, but a child begins an epoch of its own before it would look at it.
MADE_UNDER_A_LOCK = {"meter/mod.rs"}


def test_nothing_that_a_forked_child_shares_is_made_under_a_lock():
    """A child that is forked while another thread is in a `LazyLock` waits for ever for that thread, which it does not have."""
    found = set()
    for path in RUST:
        text = without_tests(path.read_text())
        if path.name != "tests.rs" and re.search(
            r"\b(LazyLock|OnceLock|sync::Once|Once::new|lazy_static)\b", text.replace("PyOnceLock", "")
        ):
            found.add(str(path.relative_to(ROOT / "src")))
    assert found == MADE_UNDER_A_LOCK


def test_files_can_be_read_in_one_sitting():
    for path in [*RUST, *PYTHON]:
        assert len(without_tests(path.read_text()).splitlines()) <= 520, path


def test_no_provider_is_imported_by_the_package():
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            assert not {name.partition(".")[0] for name in names} & {"openai", "anthropic", "httpx", "httpx2"}, path


def test_only_compat_knows_compat():
    package = ROOT / "python" / "taximeter"
    for path in PYTHON:
        if package / "compat" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                named = [node.module or "", *(alias.name for alias in node.names)]
            else:
                continue
            assert not any("compat" in name.split(".") for name in named), path


def test_every_rust_file_says_what_it_is_for():
    for path in RUST:
        assert path.read_text().startswith("//!") or path.name == "tests.rs", path
