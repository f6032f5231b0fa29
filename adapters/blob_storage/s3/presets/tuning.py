"""Options that all presets share."""

from dataclasses import dataclass, field

from adapters.blob_storage.s3.options import RetryOptions, parts_in_flight_setting, upload_memory_setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Limits of the requests to a store."""

    parts_in_flight: int = parts_in_flight_setting()
    upload_memory_bytes: int = upload_memory_setting()
    retry: RetryOptions = field(default_factory=RetryOptions)
