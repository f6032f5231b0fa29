"""Options that all presets share."""

from dataclasses import dataclass, field

from adapters.blob_storage.s3.options import RetryOptions
from core.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Limits of the requests to a store."""

    parts_in_flight: int = setting(
        "partsinflight", "Maximum number of parts of one upload sent concurrently.", 3, at_least=1, at_most=1000
    )
    retry: RetryOptions = field(default_factory=RetryOptions)
