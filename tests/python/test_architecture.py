"""Rules of the code base that a program can check."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from conftest import ROOT
from python_files import Package
from rust_files import Sources, circles, rooms_of, shortest

RUST = sorted((ROOT / "src").rglob("*.rs"))
PACKAGE = ROOT / "python" / "taximeter"
PYTHON = sorted(PACKAGE.rglob("*.py"))
LAYERS = {
    "event": {"money"},
    "money": set(),
    "pricing": {"event", "money"},
    "journal": {"sys"},
    "capture": {"event", "money"},
    "sys": set(),
    "tokens": {"sys"},
    "ledger": {"event", "money", "sys"},
    "protocol": {"event", "money"},
    "http": {"protocol", "event", "sys"},
    "delivery": {"event", "http", "journal", "ledger", "protocol", "sys"},
    "budget": {"event", "money", "sys"},
    "meter": {"budget", "event", "money", "pricing", "protocol", "journal", "delivery", "ledger", "sys"},
}


def module_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").parts[0].removesuffix(".rs")


def without_tests(text: str) -> str:
    return text.split("#[cfg(test)]")[0]


@pytest.mark.parametrize("path", RUST, ids=lambda path: str(path.relative_to(ROOT)))
def test_rust_modules_use_only_lower_layers(path):
    module = module_of(path)
    used = set(re.findall(r"\bcrate::(\w+)", without_tests(path.read_text())))
    if module in LAYERS:
        assert used - {module} <= LAYERS[module], path
    assert ("pyo3" in path.read_text()) <= (module == "py")
    assert "py" not in used or module == "py"


def test_rust_files_have_no_dependency_cycles():
    edges = Sources(ROOT / "src").edges()
    groups = circles(edges)
    found = {rooms_of(group): " -> ".join(shortest(edges, group)) for group in groups}
    assert not found, found


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # A `mod.rs` that only re-exports is not part of a cycle. Comments, strings and tests are ignored.
        (
            {
                "lib.rs": "mod a;",
                "a/mod.rs": "mod b; mod c; pub use b::B; pub use c::*;",
                "a/b.rs": 'use super::C; // crate::a::D\npub struct B(C); const D: &str = "super::E";',
                "a/c.rs": "pub struct C; #[cfg(test)] mod tests { use super::super::B; fn f() { super::B } }",
            },
            [],
        ),
        # Re-exports, aliases, trees, inline paths and inline modules are followed to the file that defines the name.
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
        # A parent module that also defines something is part of a cycle.
        (
            {"lib.rs": "mod a;", "a/mod.rs": "mod b; pub struct A; use b::B;", "a/b.rs": "use super::*; struct B(A);"},
            [["a/b.rs", "a/mod.rs"]],
        ),
    ],
)
def test_cycles_of_rust_files_are_found(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    edges = Sources(tmp_path).edges()
    assert circles(edges) == expected
    assert all(set(shortest(edges, group)) == set(group) for group in expected)


def test_unsafe_and_platform_code_is_only_in_sys():
    for path in RUST:
        text = path.read_text()
        if module_of(path) != "sys" and path != ROOT / "src" / "py" / "fastcall.rs":
            assert "unsafe" not in text.replace("unsafe_code", ""), path
            is_test = path.stem == "tests" or "tests" in path.parts
            assert is_test or not re.search(r"cfg\((not\()?(unix|windows|target_os)", without_tests(text)), path


# An epoch's journal is created under such a lock, but a child starts its own epoch before it reads it.
MADE_UNDER_A_LOCK = {"meter/mod.rs"}


def test_nothing_that_a_forked_child_uses_is_initialized_under_a_lock():
    """A child forked while another thread initializes a `LazyLock` would wait forever for that thread, which it does not have."""
    found = set()
    for path in RUST:
        text = without_tests(path.read_text())
        if path.name != "tests.rs" and re.search(
            r"\b(LazyLock|OnceLock|sync::Once|Once::new|lazy_static)\b", text.replace("PyOnceLock", "")
        ):
            found.add(str(path.relative_to(ROOT / "src")))
    assert found == MADE_UNDER_A_LOCK


def test_files_are_short():
    for path in [*RUST, *PYTHON]:
        assert len(without_tests(path.read_text()).splitlines()) <= 520, path


# Optional packages that each file imports if they are installed.
OPTIONAL = {
    "chart.py": {"resvg_py"},
    "ledger/report.py": {"rich"},
    "settings/toml.py": {"tomli"},
    "compat/_requests.py": {"requests"},
    "compat/tokentally/_errors.py": {"httpx"},
    "compat/paygent_sdk/v4/wrappers/langchain_wrapper.py": {"langchain_core"},
    "testing/pytest_plugin.py": {"pytest"},
}


@pytest.mark.slow
def test_the_package_requires_no_other_package():
    """No client and no HTTP library is imported. Clients are instrumented once the application has loaded them."""
    for file, names in own_package().foreign().items():
        assert names - sys.stdlib_module_names == OPTIONAL.get(file, set()), file


# From the lowest to the highest layer. A package may import its own layer and lower ones, also lazily and for type checkers.
PYTHON_LAYERS = [
    {
        "_core",
        "errors",
        "fields",
        "types",
        "locks",
        "files",
        "_forked_imports",
        "concealed",
        "log",
        "sanitize",
        "table",
        "exposition",
        "scale",
        "chart",
        "_subinterpreter",
    },
    {"attribution", "moments", "zones", "catalog", "settings", "budgets"},
    {"meter", "ledger", "tokens"},
    {"instrument"},
    {"_default", "_default_ledger"},
    {"otel", "integrations", "middleware", "dashboard", "billing", "reconcile", "compat", "testing"},
    {"cli"},
    {"__init__", "__main__"},
]


@cache
def own_package() -> Package:
    """Return the imports of taximeter's package."""
    return Package(PACKAGE)


@cache
def own_edges(*, typing: bool) -> dict[str, set[str]]:
    """Return which of its files import which; see `Package.edges`."""
    return own_package().edges(typing=typing)


def python_room(file: str) -> str:
    return Path(file).parts[0].removesuffix(".pyi").removesuffix(".py")


def wrong_directions(edges: dict[str, set[str]]) -> list[str]:
    rank = {room: number for number, layer in enumerate(PYTHON_LAYERS) for room in layer}
    return [
        f"{file} -> {other}"
        for file, others in edges.items()
        for other in sorted(others)
        if rank[python_room(file)] < rank[python_room(other)]
    ]


def test_python_packages_import_only_lower_layers():
    assert not wrong_directions(own_edges(typing=True))


def test_python_files_have_no_import_cycles():
    edges = own_edges(typing=False)
    found = [" -> ".join(shortest(edges, group)) for group in circles(edges)]
    assert not found, found


def test_python_packages_have_no_import_cycles():
    rooms: dict[str, set[str]] = {}
    for file, others in own_edges(typing=False).items():
        room = python_room(file)
        rooms.setdefault(room, set()).update({python_room(other) for other in others} - {room})
    assert not circles(rooms), [" -> ".join(shortest(rooms, group)) for group in circles(rooms)]


def test_only_compat_imports_compat():
    for file, others in own_edges(typing=True).items():
        assert python_room(file) == "compat" or "compat" not in map(python_room, others), file


# The parts of the extension that only compat uses: one-off requests and the look-up of the cloud.
INTERFACES_OF_COMPAT = {"_core.pyi", "_default.py"}


def test_compat_uses_only_public_interfaces():
    for file, others in own_edges(typing=True).items():
        if python_room(file) == "compat":
            outside = {other for other in others if python_room(other) != "compat"} - INTERFACES_OF_COMPAT
            assert not [other for other in outside if re.search(r"(^|/)_(?!_init__)", other)], file
            assert "._core." not in (PACKAGE / file).read_text(), file


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # An `__init__` that only re-exports is not part of a cycle, and neither are imports for type checkers.
        (
            {
                "__init__.py": "from .a import A",
                "a/__init__.py": "from .b import B\nfrom .c import C",
                "a/b.py": "from typing import TYPE_CHECKING\nfrom .c import C\nif TYPE_CHECKING:\n    from . import d",
                "a/c.py": "import os.path",
                "a/d.py": "from . import B",
            },
            [],
        ),
        # Lazy imports are followed, also through names that an `__init__` re-exports, and modules that are named by a string.
        (
            {
                "__init__.py": "",
                "a/__init__.py": "from .b import B",
                "a/b.py": "def f():\n    from ..d import D",
                "d.py": "class D:\n    def f(self):\n        from .a import B",
                "e.py": "import importlib\nimportlib.import_module('.g', __package__)",
                "g.py": "import package.e as other",
            },
            [["a/__init__.py", "a/b.py", "d.py"], ["e.py", "g.py"]],
        ),
        # Modules whose names are built at run time count as all modules of their package. A package runs before its modules.
        (
            {
                "__init__.py": "",
                "a.py": "from importlib import import_module\nimport_module(f'.plugins.{name}', __package__)",
                "plugins/__init__.py": "",
                "plugins/one.py": "from .. import a",
                "b.py": "from .c.d import x",
                "c/__init__.py": "def f():\n    from .. import b",
                "c/d.py": "x = 1",
            },
            [["a.py", "plugins/one.py"], ["b.py", "c/__init__.py"]],
        ),
    ],
)
def test_cycles_of_python_files_are_found(tmp_path, files, expected):
    for name, text in files.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    edges = Package(tmp_path / "package").edges(typing=False)
    assert circles(edges) == expected
    assert all(set(shortest(edges, group)) <= set(group) for group in expected)


def test_imports_of_higher_layers_are_found(tmp_path):
    package = tmp_path / "package"
    (package / "meter").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text("from . import meter")
    (package / "meter" / "__init__.py").write_text("def f():\n    from ..cli import main")
    assert wrong_directions(Package(package).edges(typing=True)) == ["meter/__init__.py -> cli.py"]


def test_every_rust_file_has_a_module_comment():
    for path in RUST:
        assert path.read_text().startswith("//!") or path.name == "tests.rs", path
