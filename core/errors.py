"""Every error the domain and its ports raise.

Errors carry data, not HTTP: `entrypoints/http/errors.py` is the one place that maps them to OCI codes.

    RegistryError                       caused by the request of a client
      InvalidInputError                 the request is malformed
        NameInvalidError
        TagInvalidError
        DigestInvalidError
        ManifestInvalidError
          ManifestTooLargeError
        PaginationInvalidError
        RangeInvalidError
      UnknownError                      the resource does not exist
        NameUnknownError
        ManifestUnknownError
        BlobUnknownError
        UploadUnknownError
      ContentError                      the content differs from the announced content
        DigestMismatchError
        SizeMismatchError
        BlobTooLargeError
        UploadRangeError
        UploadInvalidError
        ManifestBlobUnknownError
      PolicyError                       the request is valid and refused
        UnsupportedError
          ReadOnlyError
          CachedRepositoryError
        DeniedError
        UnauthenticatedError
        TooManyRequestsError
        BusyError                       the operation is already running
    StorageError                        raised by adapters, not caused by the client
      ObjectNotFoundError               services translate it; never reaches a client
      ObjectTooLargeError
      ObjectBusyError
      StorageUnavailableError
        StorageFullError
        CatalogUnavailableError           the catalog's index; images are not affected
          CatalogLostError
      StorageCorruptError
        ContentDamagedError             damaged blob or manifest; a push repairs it
      AuditUnavailableError             no audit record can be written, so changes are refused
      ImageLayoutError
      UpstreamError                       an upstream registry gave no usable answer
        UpstreamAbsentError               services translate it; never reaches a client
        UpstreamUnavailableError
          UpstreamTimeoutError
          UpstreamBusyError               the upstream's rate limit
      IssuerUnavailableError              the keys of an identity provider are not known
"""

from collections.abc import Sequence


class RegistryError(Exception):
    """Base class of errors that are reported to the client."""

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.detail = detail
        """Detail member of the error response: JSON-ready, without secrets."""


class InvalidInputError(RegistryError):
    """The request is malformed."""


class NameInvalidError(InvalidInputError):
    """A repository name breaks the grammar or is longer than 255 characters."""


class TagInvalidError(InvalidInputError):
    """A tag breaks the grammar or is longer than 128 characters."""


class DigestInvalidError(InvalidInputError):
    """A digest is malformed or names an algorithm that is not supported."""


class ManifestInvalidError(InvalidInputError):
    """A manifest cannot be parsed or contradicts itself."""


class ManifestTooLargeError(ManifestInvalidError):
    """A manifest is longer than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"manifest is larger than {limit} bytes", detail={"limit": limit})
        self.limit = limit


class PaginationInvalidError(InvalidInputError):
    """The page size `n` is not a number, is negative, or exceeds the maximum."""


class RangeInvalidError(InvalidInputError):
    """A byte range lies outside a blob of `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__("requested range not satisfiable", detail={"size": size})
        self.size = size


class UnknownError(RegistryError):
    """The requested resource does not exist."""


class NameUnknownError(UnknownError):
    """The repository does not exist."""


class ManifestUnknownError(UnknownError):
    """No manifest has this tag or digest."""


class BlobUnknownError(UnknownError):
    """The repository has no such blob."""


class UploadUnknownError(UnknownError):
    """The upload session does not exist."""


class ContentError(RegistryError):
    """The content differs from the announced content."""


class DigestMismatchError(ContentError):
    """The bytes hash to another digest."""


class SizeMismatchError(ContentError):
    """The number of bytes differs from the announced number."""


class BlobTooLargeError(ContentError):
    """A blob is longer than `limit` bytes, the maximum of this registry."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"blob is larger than {limit} bytes", detail={"limit": limit})
        self.limit = limit


class UploadRangeError(ContentError):
    """A chunk does not start at `offset`, the current offset of the upload session."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the next chunk of the upload must start at offset {offset}", detail={"offset": offset})
        self.offset = offset


class UploadInvalidError(ContentError):
    """The state of an upload has no valid signature, or belongs to another session."""


class ManifestBlobUnknownError(ContentError):
    """A manifest refers to content that the repository does not have."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests)} referenced blobs or manifests are missing", detail=list(digests))
        self.digests = tuple(digests)


class PolicyError(RegistryError):
    """The request is valid, but the registry refuses it."""


class UnsupportedError(PolicyError):
    """The operation is disabled or not supported."""


class ReadOnlyError(UnsupportedError):
    """The registry is read-only at the moment."""

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason, detail={"readonly": True, "seconds": retry_after})
        self.retry_after = retry_after
        """Seconds until the registry accepts writes again, or None if unknown."""


class CachedRepositoryError(UnsupportedError):
    """The repository is a cache of an upstream registry; only pulls fill it."""


class DeniedError(PolicyError):
    """The caller is not allowed to perform the operation."""


class UnauthenticatedError(PolicyError):
    """The caller must authenticate; `challenge` is the `WWW-Authenticate` value."""

    def __init__(self, challenge: str, *, detail: object = None) -> None:
        super().__init__("authentication required", detail=detail)
        self.challenge = challenge


class BusyError(PolicyError):
    """The operation is already running, here or at another replica."""


class TooManyRequestsError(PolicyError):
    """The caller must wait `retry_after` seconds before the next request."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


class StorageError(Exception):
    """Base class of errors raised by adapters of ports."""


class ObjectNotFoundError(StorageError):
    """There is no object at `key`."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object at {key}")
        self.key = key


class ObjectTooLargeError(StorageError):
    """The object at `key` is larger than the limit that the caller gave."""

    def __init__(self, key: str, *, size: int, limit: int) -> None:
        super().__init__(f"object at {key} has {size} bytes, more than the limit of {limit}")
        self.key = key
        self.size = size
        self.limit = limit


class ObjectBusyError(StorageError):
    """Another writer has `key` open."""

    def __init__(self, key: str) -> None:
        super().__init__(f"another writer has {key} open")
        self.key = key


class StorageUnavailableError(StorageError):
    """The backend is unreachable, refuses the operation, or is full; a later attempt may succeed."""


class StorageFullError(StorageUnavailableError):
    """The backend has no space for the write; reads and deletes still work."""


class CatalogUnavailableError(StorageUnavailableError):
    """The index of the catalog does not respond or refuses a request. Pushes and pulls still work."""


class CatalogLostError(CatalogUnavailableError):
    """The index of the catalog was dropped or removed, with all names in it. A rebuild restores it."""


class StorageCorruptError(StorageError):
    """A stored object cannot be the content that was written."""


class ContentDamagedError(StorageCorruptError):
    """The stored bytes of a blob or manifest do not match its `digest`. A push of the same content repairs them."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"the stored data of {digest} is damaged")
        self.digest = digest


class AuditUnavailableError(StorageError):
    """The audit log cannot be written; the message is for operators."""


class ImageLayoutError(StorageError):
    """An OCI image layout is invalid, or cannot be read or written."""


class UpstreamError(StorageError):
    """An upstream registry gave no usable answer. The message names the upstream, and contains no credentials."""


class UpstreamAbsentError(UpstreamError):
    """The upstream does not have the content, or does not show it to this registry."""


class UpstreamUnavailableError(UpstreamError):
    """The upstream cannot be reached, or answered with an error or with unusable content."""


class UpstreamTimeoutError(UpstreamUnavailableError):
    """The upstream did not answer in time."""


class UpstreamBusyError(UpstreamUnavailableError):
    """The upstream asked to wait `retry_after` seconds before the next request."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IssuerUnavailableError(StorageError):
    """An identity provider gave no usable answer. The message is for operators, and contains no secret."""
