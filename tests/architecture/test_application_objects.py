"""Entry points hold typed application objects, never the container that builds them."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from config.container import Observers, RegistryApplication, ServerApplication, ServerParts, StoreApplication
from core.content_source import Offload
from tests.support.late_types import LATE_TYPES

ROOT: Final = Path(__file__).parents[2]
CLASSES: Final = (StoreApplication, RegistryApplication, ServerParts, Observers, ServerApplication)


def parts_of(hint: Any) -> Iterator[Any]:
    yield hint
    for part in typing.get_args(hint):
        yield from parts_of(part)


@pytest.mark.parametrize("word", ["dependency_injector", "Container(", "import Container", ".override("])
def test_entry_points_know_no_container(word: str) -> None:
    files = [path for path in (ROOT / "entrypoints").rglob("*.py") if word in path.read_text()]
    assert files == []


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_has_an_exact_type(kind: type) -> None:
    resolved = typing.get_type_hints(kind, localns=LATE_TYPES)
    hints = {field.name: resolved[field.name] for field in dataclasses.fields(kind)}
    # `Offload` runs any function, here as in the core.
    assert [name for name, hint in hints.items() if Any in parts_of(hint) and hint != Offload] == []
