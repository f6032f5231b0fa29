"""Private parts of aiohttp are used in one package only, which a setting turns off (`http.fastpath`)."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import aiohttp
import pytest

# These tests read the code and run little of it; measuring coverage would double their time.
pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[2]
PACKAGE = "entrypoints/http/connection/fastpath/"
PUBLIC_MODULES = {
    "aiohttp",
    "aiohttp.abc",
    "aiohttp.hdrs",
    "aiohttp.payload",
    "aiohttp.typedefs",
    "aiohttp.web",
}
"""Modules that aiohttp documents."""
ALLOWED = {"adapters/blob_storage/s3/body.py": {"_size", "_value"}}
"""A subclass of `Payload` has no other way to state its size; it belongs to a client, not to the server."""


def is_private(name: str) -> bool:
    # `_replace` is a public method of named tuples.
    return name.startswith("_") and not name.endswith("__") and name != "_replace"


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a piece of aiohttp's source assigns, defines or lists in `__slots__`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case ast.Constant(value=str(name)):
                pass
            case _:
                continue
        if is_private(name) and name.isidentifier():
            yield name


@cache
def aiohttp_names() -> set[str]:
    """Return all private names of aiohttp."""
    modules = Path(aiohttp.__file__).parent.glob("*.py")
    return {name for path in modules for name in private_names(ast.parse(path.read_text()))}


def product_modules() -> list[Path]:
    return [
        path
        for package in ("core", "adapters", "config", "entrypoints")
        for path in (ROOT / package).rglob("*.py")
        if "aiohttp" in path.read_text()
    ]


def imported_from_private_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "aiohttp":
            if node.module not in PUBLIC_MODULES:
                yield node.module
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Import):
            yield from (
                alias.name
                for alias in node.names
                if alias.name.partition(".")[0] == "aiohttp" and alias.name not in PUBLIC_MODULES
            )


def read_from_other_objects(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in aiohttp_names():
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in {"self", "cls"}:
                yield node.attr


def shared_with_aiohttp_classes(module: str) -> Iterator[str]:
    """Yield the private names that a subclass of an aiohttp class shares with it: overridden, read or replaced."""
    for kind in vars(importlib.import_module(module)).values():
        if not inspect.isclass(kind) or kind.__module__ != module:
            continue
        bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "aiohttp"]
        inherited = {name for base in bases for name in private_names(parse(base))}
        if bases:
            yield from inherited.intersection(private_names(parse(kind)))


def parse(kind: type) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(kind)))


def uses_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return {
        *imported_from_private_modules(tree),
        *read_from_other_objects(tree),
        *shared_with_aiohttp_classes(module),
    }


@pytest.mark.parametrize("path", product_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_private_parts_of_aiohttp_are_used_in_one_package(path: Path) -> None:
    if PACKAGE not in str(path):
        assert uses_of(path) == ALLOWED.get(str(path.relative_to(ROOT)), set())


def test_uses_are_found() -> None:
    found = {path.stem: uses_of(path) for path in (ROOT / PACKAGE).glob("*.py") if path.stem != "__init__"}
    assert {"_messages", "_parser", "_waiter", "_ErrInfo", "aiohttp.web_protocol"} <= found["protocol"]
    assert {"_read_nowait", "_parser", "_reading_paused"} <= found["lending"]
    assert {"_make_server", "_kwargs"} <= found["runner"]
    assert "_match_info" in found["routing_bypass"]
    assert "aiohttp.http_exceptions" in found["framing"]


def test_one_module_imports_the_package() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in product_modules()
        if PACKAGE not in str(path) and "connection.fastpath" in path.read_text()
    }
    assert importers == {"entrypoints/http/connection/runner.py"}
