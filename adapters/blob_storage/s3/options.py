"""Options of an S3 store: access, limits and retries."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MIB: Final = 1024 * 1024
PART_BYTES_MIN: Final = 5 * MIB
"""S3 rejects smaller parts, except the last one."""

_TRANSFER_BYTES_PER_SECOND_MIN: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """Retries of a failing request: exponential pauses with full jitter, limited in number and time."""

    attempts: int = 8
    """Attempts per request, including the first: if one attempt in seven fails, one request in six million does."""
    budget_seconds: float = 45.0
    """The latest start of an attempt, measured from the first one."""
    pause_base_seconds: float = 0.1
    pause_seconds_max: float = 5.0
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    """The longest wait for data from the store."""

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each further attempt."""
        for attempt in range(self.attempts - 1):
            longest = min(self.pause_seconds_max, self.pause_base_seconds * 2**attempt)
            yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret

    def attempt_seconds(self, transfer_bytes: int) -> float:
        """Return the time limit of one attempt that transfers this many bytes in either direction."""
        transfer = transfer_bytes / _TRANSFER_BYTES_PER_SECOND_MIN
        return self.connect_seconds + self.read_seconds + transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Options of one S3 bucket. Without an access key, the standard AWS credential chain is used.

    Raises:
        ValueError: a value that cannot work with any store.
    """

    bucket: str
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    region_endpoint: str | None = None
    """URL or `host[:port]` of a store other than AWS."""
    root_directory: str = ""
    """Prefix of every key in the bucket, without a trailing slash."""
    secure: bool = True
    skip_verify: bool = False
    v4_auth: bool = True
    force_path_style: bool = False
    accelerate: bool = False
    use_dualstack: bool = False
    use_fips_endpoint: bool = False
    encrypt: bool = False
    key_id: str | None = None
    """The KMS key for `encrypt`; without one, the store encrypts with its own key."""
    storage_class: str | None = "STANDARD"
    """None omits the header, for stores without storage classes."""
    object_acl: str | None = None
    redirect_endpoint: str | None = None
    """URL or `host[:port]` in presigned URLs, if clients reach the store at another address."""
    user_agent: str | None = None
    chunk_bytes: int = 10 * MIB
    """Length of an uploaded part; an upload holds `parts_in_flight + 1` of them in memory."""
    parts_in_flight: int = 3
    multipart_copy_chunk_bytes: int = 32 * MIB
    multipart_copy_concurrency_max: int = 100
    multipart_copy_threshold_bytes: int = 32 * MIB
    connections_max: int = 256
    """Maximum number of connections, and so of parallel requests; a slow download through the registry holds one."""
    retry: RetryOptions = field(default_factory=RetryOptions)

    def __post_init__(self) -> None:
        if not self.bucket:
            raise ValueError("bucket must not be empty")
        for name in ("chunk_bytes", "multipart_copy_chunk_bytes"):
            if getattr(self, name) < PART_BYTES_MIN:
                raise ValueError(f"{name} must be at least {PART_BYTES_MIN}")
        if min(self.parts_in_flight, self.connections_max, self.multipart_copy_concurrency_max) < 1:
            raise ValueError("parts_in_flight, connections_max and multipart_copy_concurrency_max must be at least 1")

    def url(self, address: str | None) -> str | None:
        """Return the URL of an endpoint given as a URL or as `host[:port]`."""
        if not address or "://" in address:
            return address or None
        return f"{'https' if self.secure else 'http'}://{address}"
