"""The extension has the docstrings of its stub."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import taximeter
from conftest import ROOT
from taximeter import _core

STUB = ast.parse((Path(taximeter.__file__).parent / "_core.pyi").read_text("utf-8"))


def documented():
    """Yield the stub's public classes, methods, properties and functions, with their docstrings."""
    for node in STUB.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", ast.get_docstring(member)


def at_run_time(path: str) -> object:
    owner, _, name = path.rpartition(".")
    return getattr(getattr(_core, owner) if owner else _core, name)


@pytest.mark.parametrize(("path", "text"), [*documented()], ids=lambda value: value if value and "\n" not in value else "")
def test_the_extension_has_the_docstrings_of_the_stub(path, text):
    assert text, f"{path} has no docstring in the stub"
    assert inspect.getdoc(at_run_time(path)) == text


def test_everything_public_of_the_extension_is_in_the_stub():
    known = {path for path, _ in documented()}
    for name, value in vars(_core).items():
        if callable(value) and not name.startswith("_"):
            assert name in known
            members = vars(value) if isinstance(value, type) else ()
            assert {f"{name}.{member}" for member in members if not member.startswith("_")} <= known


SOURCES = [path for folder in ("python", "tests/python", "benches", "scripts", "examples") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.slow
def test_docstrings_of_functions_are_in_the_imperative_mood():
    """`ruff` checks the verbs that it knows; no other docstring begins with a verb in the third person."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (text := ast.get_docstring(node)):
                first = text.split()[0]
                assert not first.endswith("s") or first in {"As", "Its", "Pass", "This"}, f"{path}: {text}"


def test_help_shows_what_track_takes():
    assert "finish_reason: Why generation stopped" in inspect.getdoc(taximeter.track)
    assert list(inspect.signature(taximeter.track).parameters)[:3] == ["provider", "model", "input_tokens"]
