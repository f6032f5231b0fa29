"""A JSON Schema of the configuration file, for editors and for checks before a roll-out."""

import json
from dataclasses import MISSING
from enum import Enum
from typing import Any, Final

from config.durations import format_duration
from config.schema.base import KnownKey, SectionSchema, Sub, SubList
from config.schema.key import JsonObject
from config.schema.root import RootSchema
from config.schema.scalars import Duration
from config.settings import Secret

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def describe_file() -> JsonObject:
    """Return the schema of the whole file. The schema allows unknown keys, as the registry does."""
    return {
        "$schema": _DIALECT,
        "title": "Configuration of the registry",
        **_describe_section(RootSchema, owner=None),
        "required": ["version"],
    }


def render_schema() -> str:
    """Return the schema as the text of the shipped file."""
    return json.dumps(describe_file(), indent=2, ensure_ascii=False) + "\n"


def _describe_section(section: type[SectionSchema], *, owner: type[Any] | None) -> JsonObject:
    owner = section.settings or owner
    properties: JsonObject = {}
    for attribute, field in section.keys().items():
        described: JsonObject = {"description": field.doc}
        if field.replaced_by is not None:
            described["deprecated"] = True
        if isinstance(field, Sub) and field.replaced_by is not None:
            described |= {"type": ["object", "null"]}
        elif isinstance(field, Sub):
            described |= _describe_section(field.section, owner=owner)
            if field.may_be_bare:
                described["type"] = [*described["type"], "string"]
        elif isinstance(field, SubList):
            described |= {"type": "array", "items": _describe_section(field.section, owner=None)}
        else:
            known = KnownKey(path=(field.key,), field=field, owner=owner, attribute=attribute)
            described |= {**_nullable(field.json_schema()), **_default(known)}
        properties[field.key] = described
    return {"type": ["object", "null"], "properties": properties}


def _default(known: KnownKey) -> JsonObject:
    default = known.default
    if default is MISSING or default is None or isinstance(default, Secret) or default == "":
        return {}
    if isinstance(default, Enum):
        return {"default": default.value}
    if isinstance(known.field, Duration):
        return {"default": format_duration(default)}  # type: ignore[arg-type]  # durations are floats
    return {"default": list(default) if isinstance(default, tuple) else default}


def _nullable(described: JsonObject) -> JsonObject:
    """Also allow a key without a value, which means the default."""
    if "enum" in described:
        return described | {"enum": [*described["enum"], None]}
    if "anyOf" in described:
        return described | {"anyOf": [*described["anyOf"], {"type": "null"}]}
    types = described.get("type", [])
    return described | {"type": [*([types] if isinstance(types, str) else types), "null"]} if types else described
