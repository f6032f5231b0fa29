"""The schema of the whole file."""

from typing import Final

from config.schema.base import SectionSchema
from config.schema.building import schema_of
from config.settings import Settings

RootSchema: Final[type[SectionSchema]] = schema_of(Settings)
