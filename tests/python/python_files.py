"""Finds which file of the Python package imports which, including lazy imports.

`python tests/python/python_files.py` prints the import cycles.

A file depends on the file that defines an imported name. It does not depend on an `__init__` beside it that only re-exports the name.
It depends on the `__init__` of other packages, because Python runs that first. Imports under `if TYPE_CHECKING:` never run, so they
are not part of cycles, but must follow the layers. Modules whose names are built at run time are not found, except for an f-string
that begins with the package: `import_module(f".providers.{name}", __package__)` depends on all of `providers`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rust_files import circles, shortest


class Import(NamedTuple):
    """An imported name."""

    module: str
    """The absolute name of the module that has it."""
    name: str
    """The name; empty for the module itself, `*` for all modules of a package."""
    is_typing: bool
    """Whether it is imported under `if TYPE_CHECKING:`."""


class Package:
    """The files of a package, by their paths relative to its directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.files = {str(path.relative_to(root)): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}
        self._file_of = {self._module(file): file for file in self.files}
        self._file_of |= {self._module(stub): stub for stub in (str(path.relative_to(root)) for path in root.rglob("*.pyi"))}
        self._imports = {file: list(self._read(file)) for file in self.files}

    def edges(self, *, typing: bool) -> dict[str, set[str]]:
        """Return the files that each file imports.

        Args:
            typing: Whether imports for type checkers count.
        """
        return {
            file: {other for one in found if typing or not one.is_typing for other in self._targets(file, one)} - {file}
            for file, found in self._imports.items()
        }

    def foreign(self) -> dict[str, set[str]]:
        """Return the other packages that each file imports at run time."""
        own = self._root.name
        return {
            file: {one.module.partition(".")[0] for one in found if not one.is_typing} - {own}
            for file, found in self._imports.items()
        }

    def _module(self, file: str) -> str:
        parts = [self._root.name, *Path(file).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _package(self, file: str) -> str:
        return self._module(file) if Path(file).stem == "__init__" else self._module(file).rpartition(".")[0]

    def _absolute(self, file: str, module: str, level: int) -> str:
        if not level:
            return module
        base = self._package(file).split(".")
        return ".".join(base[: len(base) - level + 1] + ([module] if module else []))

    def _read(self, file: str) -> Iterator[Import]:
        yield from self._walk(file, self.files[file], is_typing=False)

    def _walk(self, file: str, node: ast.AST, *, is_typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", is_typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = self._absolute(file, node.module or "", node.level)
            yield from (Import(module, alias.name, is_typing) for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module" and node.args:
            yield from self._named(file, node.args[0], is_typing=is_typing)
        if isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING":
            for inner in node.body:
                yield from self._walk(file, inner, is_typing=True)
            for inner in node.orelse:
                yield from self._walk(file, inner, is_typing=is_typing)
            return
        for inner in ast.iter_child_nodes(node):
            yield from self._walk(file, inner, is_typing=is_typing)

    def _named(self, file: str, name: ast.expr, *, is_typing: bool) -> Iterator[Import]:
        """Yield the modules of a text, or of an f-string that begins with their package."""
        is_whole = isinstance(name, ast.Constant)
        first = name if is_whole else name.values[0] if isinstance(name, ast.JoinedStr) else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return
        text = first.value if is_whole else first.value.rpartition(".")[0]
        level = len(text) - len(text.lstrip("."))
        if text.strip("."):
            yield Import(self._absolute(file, text.lstrip("."), level), "" if is_whole else "*", is_typing)

    def _targets(self, file: str, one: Import) -> Iterator[str]:
        if one.module.partition(".")[0] != self._root.name:
            return
        if one.name == "*":
            yield from (other for module, other in self._file_of.items() if module.startswith(f"{one.module}."))
            return
        whole = f"{one.module}.{one.name}" if one.name else one.module
        found = self._file_of.get(whole) or self._definer(one.module, one.name, set())
        if found is not None:
            yield found
            # Python runs the packages that contain the module first. Those that contain the importing file have already run.
            module, here = self._module(found), f"{self._module(file)}."
            while module := module.rpartition(".")[0]:
                if not here.startswith(f"{module}.") and module in self._file_of:
                    yield self._file_of[module]

    def _definer(self, module: str, name: str, seen: set[str]) -> str | None:
        """Return the file that defines a name of a module, following re-exports."""
        file = self._file_of.get(module)
        if file is None or module in seen or Path(file).stem != "__init__":
            return file
        for one in self._imports.get(file, self._read(file)):
            if one.name == name and one.module.partition(".")[0] == self._root.name:
                return self._file_of.get(f"{one.module}.{name}") or self._definer(one.module, name, {*seen, module})
        return file


if __name__ == "__main__":
    package = Package(Path(__file__).parents[2] / "python" / "taximeter")
    all_edges = package.edges(typing=False)
    for group in circles(all_edges):
        print(f"{len(group)} files: {' '.join(group)}")
        print(f"    shortest: {' -> '.join(shortest(all_edges, group))}")
    sys.exit(bool(circles(all_edges)))
