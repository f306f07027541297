"""Finds which Rust file uses which, from `use` lines and paths, so that cycles between files can be found.

`python tests/python/rust_files.py` prints the cycles.

A file depends on the file that defines a name, not on the `mod.rs` that re-exports it. `mod child;` is not a dependency: a `mod.rs`
that only lists and re-exports its children is in no cycle, even if they use each other through it. Not found are methods that are
called on a value whose type is never named, and names that macros make.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

Module = tuple[str, ...]

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_TEXT = re.compile(r'b?r(#*)".*?"\1|b?"(?:[^"\\]|\\.)*"|b?\'(?:[^\'\\\n]|\\[^\n]{1,10}?)\'', re.DOTALL)
_TEST = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([a-z]+\))?\s+)?")
_ITEM = re.compile(
    r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)\s+(?:mut\s+)?(?:fn\s+)?([A-Za-z_]\w*)"
    r"|\bmod\s+([a-z_]\w*)\s*(?=\{)"
)
_USE = re.compile(r"\b(?:pub(?:\([a-z ]+\))?\s+)?use\s+([^;]+);")
_PATH = re.compile(r"(?<![\w:.])((?:crate|super|self|[a-z_]\w*)(?:::\w+)+)")


def _code(text: str) -> str:
    """Return the code without comments, strings and test-only code."""
    text = _COMMENT.sub(" ", _TEXT.sub('""', _COMMENT.sub(lambda m: " " if m[0].startswith("//") else m[0], _protect(text))))
    while found := _TEST.search(text):
        end = found.end()
        opening, semicolon = text.find("{", end), text.find(";", end)
        stop = semicolon + 1 if opening < 0 or -1 < semicolon < opening else _matching(text, opening) + 1
        text = text[: found.start()] + text[stop:]
    return text


def _protect(text: str) -> str:
    """Remove `//` from strings, so that it does not begin a comment."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda match: match[0].replace("//", "").replace("/*", ""), text)


def _matching(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text) - 1


def _tree(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the paths of a `use` tree, each with its local name; `*` for all names."""
    text = text.strip()
    head, brace, rest = text.partition("{")
    if brace:
        prefix = [part for part in re.split(r"\s*::\s*", head.strip()) if part]
        depth, start, body = 0, 0, rest[: rest.rfind("}")] + ","
        for at, character in enumerate(body):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if character == "," and depth == 0:
                if body[start:at].strip():
                    for path, name in _tree(body[start:at]):
                        yield [*prefix, *(path if path != ["self"] else [])], name if path != ["self"] else prefix[-1]
                start = at + 1
        return
    path, _, alias = text.partition(" as ")
    parts = re.split(r"\s*::\s*", path.strip())
    yield parts, alias.strip() or parts[-1]


class Sources:
    """The files of a crate, with the names that each uses and defines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file_of: dict[Module, str] = {}
        self._code: dict[Module, str] = {}
        self._items: dict[Module, set[str]] = {}
        self._uses: dict[Module, list[tuple[list[str], str]]] = {}
        for path in sorted(root.rglob("*.rs")):
            name = path.relative_to(root)
            if name.stem == "tests" or "tests" in name.parts:
                continue
            parts = list(name.with_suffix("").parts)
            module = tuple(parts[:-1] if parts[-1] in {"mod", "lib", "main"} else parts)
            code = _flat(_code(path.read_text()))
            self.file_of[module] = str(name)
            self._code[module] = code
            self._items[module] = {a or b for a, b in _ITEM.findall(code)}
            self._uses[module] = [one for tree in _USE.findall(code) for one in _tree(tree)]

    def edges(self) -> dict[str, set[str]]:
        """Return for each file the other files that define names it uses."""
        found: dict[str, set[str]] = {}
        for module, file in self.file_of.items():
            used = found.setdefault(file, set())
            rest = _USE.sub(";", self._code[module])
            for path in [*(path for path, _ in self._uses[module]), *(one.split("::") for one in _PATH.findall(rest))]:
                target = self._resolve(module, path, frozenset())
                if target is not None and self.file_of[target] != file:
                    used.add(self.file_of[target])
        return found

    def _resolve(self, module: Module, path: list[str], seen: frozenset[tuple[Module, str]]) -> Module | None:
        """Return the module whose file defines the target of a path in `module`; `None` if another crate defines it."""
        at, rest = module, list(path)
        if rest[0] == "crate":
            at, rest = (), rest[1:]
        else:
            while rest and rest[0] in {"self", "super"}:
                at, rest = (at[:-1] if rest[0] == "super" else at), rest[1:]
            if len(rest) == len(path) and not self._is_known(at, rest[0]):
                return None
        while rest:
            name, rest = rest[0], rest[1:]
            if (*at, name) in self.file_of:
                at = (*at, name)
            elif name == "*" or name in self._items[at]:
                return at
            else:
                return self._handed_on(at, name, rest, seen)
        return at

    def _is_known(self, module: Module, name: str) -> bool:
        return (*module, name) in self.file_of or any(
            known == name and path[0] in {"crate", "self", "super"} or known == name and (*module, path[0]) in self.file_of
            for path, known in self._uses[module]
        )

    def _handed_on(self, module: Module, name: str, rest: list[str], seen: frozenset[tuple[Module, str]]) -> Module | None:
        """Follow a name that a file imports with `use`."""
        if (module, name) in seen:
            return None
        seen |= {(module, name)}
        for path, known in self._uses[module]:
            if known == name and path[-1] != "*":
                return self._resolve(module, [*path, *rest], seen)
        for path, known in self._uses[module]:
            if known == "*":
                found = self._resolve(module, [*path[:-1], name, *rest], seen)
                if found is not None and name in self._items.get(found, ()):
                    return found
        # It is made by a macro of that file, or is a field, a variant or a method of an item there.
        return module


def _flat(code: str) -> str:
    """Adjust the contents of inline modules as if they were at the file's level: with one `super` less."""
    at = 0
    while found := re.compile(r"\bmod\s+[a-z_]\w*\s*\{").search(code, at):
        end = _matching(code, found.end() - 1)
        inner = re.sub(r"(?<![\w:])super::(?!\*)", "self::", code[found.end() : end])
        code = code[: found.end()] + inner.replace("self::super::", "super::") + code[end:]
        at = found.end()
    return code


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return groups of more than one file that depend on each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(groups)


def shortest(edges: dict[str, set[str]], group: list[str]) -> list[str]:
    """Return the shortest cycle in a group, with its first file repeated at the end."""
    best: list[str] = []
    for start in group:
        came, queue = {start: ""}, [start]
        for node in queue:
            for other in sorted(edges[node] & set(group)):
                if other == start:
                    way = [start]
                    while node:
                        way.append(node)
                        node = came[node]
                    if not best or len(way) < len(best):
                        best = way[::-1]
                    queue.clear()
                    break
                if other not in came:
                    came[other] = node
                    queue.append(other)
    return best


def rooms_of(group: list[str]) -> str:
    """Return the directories, or top-level files, of a group."""
    return "+".join(sorted({Path(file).parts[0].removesuffix(".rs") for file in group}))


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "src")
    all_edges = Sources(root).edges()
    groups = circles(all_edges)
    for one in groups:
        print(f"{rooms_of(one)}: {len(one)} files: {' '.join(one)}")
        print(f"    shortest: {' -> '.join(shortest(all_edges, one))}")
        inner = {node: sorted(all_edges[node] & set(one)) for node in one}
        for node, others in inner.items():
            print(f"        {node} -> {' '.join(others)}")
    sys.exit(bool(groups))
