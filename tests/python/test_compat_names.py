"""The names of the SDKs: what their users import can be imported from here."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType

import pytest

OURS = "taximeter.compat."
ORIGINALS = ("teer", "tokentally", "tokenr")
MODULES = [
    "token_trackr", "token_trackr.client", "token_trackr.config", "token_trackr.metadata", "token_trackr.models", "token_trackr.wrappers",
    "token_trackr.wrappers.azure", "token_trackr.wrappers.bedrock", "token_trackr.wrappers.gemini",
    "paygent_sdk", "paygent_sdk.client", "paygent_sdk.constants", "paygent_sdk.models",
]  # fmt: skip
# Not names of the SDKs.
NOT_THEIRS = {"logger"}


def modules_of(package: str) -> list[ModuleType]:
    root = importlib.import_module(package)
    inner = [name for _, name, _ in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.")]
    return [root, *(importlib.import_module(name) for name in inner)]


def names_of(module: ModuleType) -> set[str]:
    """Return what a module defines, or imports from its own package."""
    package = module.__name__.partition(".")[0]
    return {
        name
        for name, value in vars(module).items()
        if (name == "__version__" or not name.startswith("_"))
        and name not in NOT_THEIRS
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", package).partition(".")[0] == package
    }


@pytest.mark.parametrize("package", ORIGINALS)
def test_every_name_of_the_original_is_in_the_same_module(package):
    for theirs in modules_of(package):
        ours = importlib.import_module(f"{OURS}{theirs.__name__}")
        assert names_of(theirs) - {*dir(ours)} == set(), theirs.__name__
        assert {*getattr(theirs, "__all__", ())} <= {*getattr(ours, "__all__", ())}, theirs.__name__


def test_the_modules_of_the_originals_are_installed_under_their_names(run):
    """Those of Token Trackr and Paygent are listed here, because the originals are not in this environment."""
    names = [module.__name__ for package in ORIGINALS for module in modules_of(package)] + MODULES
    run(
        """
        import importlib, sys
        from taximeter import compat
        compat.install("teer", "tokentally", "token_trackr", "paygent_sdk", "tokenr")
        for name in sys.argv[1:]:
            assert importlib.import_module(name) is importlib.import_module("taximeter.compat." + name), name
        """,
        *names,
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the original cannot be imported")
def test_typed_dictionaries_require_the_keys_of_the_original():
    found = 0
    for theirs in modules_of("teer"):
        ours = importlib.import_module(f"{OURS}{theirs.__name__}")
        for name in names_of(theirs):
            kind = getattr(theirs, name)
            if hasattr(kind, "__required_keys__"):
                found += 1
                mine = getattr(ours, name)
                assert (mine.__required_keys__, mine.__optional_keys__) == (kind.__required_keys__, kind.__optional_keys__), name
    assert found >= 20
