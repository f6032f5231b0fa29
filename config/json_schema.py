"""A JSON Schema of the configuration file, for editors and for checks before a roll-out."""

import json
from dataclasses import MISSING
from enum import Enum
from typing import Any, Final

from config.schema.base import SectionSchema, Sub, SubList
from config.schema.key import JsonObject, Key
from config.schema.root import RootSchema
from core.model.secret import Secret

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def describe_file() -> JsonObject:
    """Return the schema of the whole file. The schema allows unknown keys, as the registry does."""
    return {
        "$schema": _DIALECT,
        "title": "Configuration of the registry",
        **describe_section(RootSchema),
        "required": ["version"],
    }


def render_schema() -> str:
    """Return the schema as the text of the shipped file."""
    return json.dumps(describe_file(), indent=2, ensure_ascii=False) + "\n"


def describe_section(section: type[SectionSchema]) -> JsonObject:
    """Return the JSON Schema of a section."""
    properties: JsonObject = {}
    for field in section.keys().values():
        described: JsonObject = {"description": field.doc}
        if field.replaced_by is not None:
            described["deprecated"] = True
        if isinstance(field, Sub) and field.replaced_by is not None:
            described |= {"type": ["object", "null"]}
        elif isinstance(field, Sub):
            described |= describe_section(field.section)
            if field.may_be_bare:
                described["type"] = [*described["type"], "string"]
        elif isinstance(field, SubList):
            described |= {"type": "array", "items": describe_section(field.section)}
        else:
            described |= {**_nullable(field.json_schema()), **_default(field)}
        properties[field.key] = described
    return {"type": ["object", "null"], "properties": properties}


def _default(field: Key[Any]) -> JsonObject:
    default = field.default
    if default is MISSING or default is None or isinstance(default, Secret) or default == "":
        return {}
    if isinstance(default, Enum):
        return {"default": default.value}
    if (notation := field.notation(default)) is not None:
        return {"default": notation}
    return {"default": list(default) if isinstance(default, tuple) else default}


def _nullable(described: JsonObject) -> JsonObject:
    """Also allow a key without a value, which means the default."""
    if "enum" in described:
        return described | {"enum": [*described["enum"], None]}
    if "anyOf" in described:
        return described | {"anyOf": [*described["anyOf"], {"type": "null"}]}
    types = described.get("type", [])
    return described | {"type": [*([types] if isinstance(types, str) else types), "null"]} if types else described
