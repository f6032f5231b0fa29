"""Every error the domain and its ports raise.

Errors carry data, not HTTP: `entrypoints/http/errors.py` is the one place that maps them to OCI codes.

    RegistryError                       what a client did or asked for
      InvalidInputError                 the request cannot be meant
        NameInvalidError
        TagInvalidError
        DigestInvalidError
        ManifestInvalidError
          ManifestTooLargeError
        PaginationInvalidError
        RangeInvalidError
      UnknownError                      nothing there
        NameUnknownError
        ManifestUnknownError
        BlobUnknownError
        UploadUnknownError
      ContentError                      what was sent is not what was announced
        DigestMismatchError
        SizeMismatchError
        BlobTooLargeError
        UploadRangeError
        UploadInvalidError
        ManifestBlobUnknownError
      PolicyError                       understood, and refused
        UnsupportedError
          ReadOnlyError
        DeniedError
        UnauthenticatedError
        TooManyRequestsError
    StorageError                        what an adapter met (not the client's doing)
      ObjectNotFoundError               translated by the services, never seen by a client
      ObjectTooLargeError
      ObjectBusyError
      StorageUnavailableError
        StorageFullError
        CatalogLostError
      StorageCorruptError
        ContentDamagedError             the bytes of a blob or manifest; a push of it repairs them
      AuditUnavailableError             nobody could be held to account, so nothing is changed
      ImageLayoutError
"""

from collections.abc import Sequence


class RegistryError(Exception):
    """The base of what a client is told."""

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.detail = detail
        """What the client gets beside code and message: JSON-ready, without secrets."""


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
    """`n` is not a number, is negative, or is beyond the maximum."""


class RangeInvalidError(InvalidInputError):
    """A byte range lies outside a blob of `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__("requested range not satisfiable", detail={"size": size})
        self.size = size


class UnknownError(RegistryError):
    """Nothing is there."""


class NameUnknownError(UnknownError):
    """The repository does not exist."""


class ManifestUnknownError(UnknownError):
    """No manifest has this tag or digest."""


class BlobUnknownError(UnknownError):
    """The repository has no such blob."""


class UploadUnknownError(UnknownError):
    """No such upload session."""


class ContentError(RegistryError):
    """The content differs from what was announced."""


class DigestMismatchError(ContentError):
    """The bytes hash to another digest."""


class SizeMismatchError(ContentError):
    """The number of bytes differs from the announced one."""


class BlobTooLargeError(ContentError):
    """A blob is longer than the `limit` bytes that this registry takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"blob is larger than {limit} bytes", detail={"limit": limit})
        self.limit = limit


class UploadRangeError(ContentError):
    """A chunk does not start where the upload session stands, at `offset` bytes."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload stands at offset {offset}", detail={"offset": offset})
        self.offset = offset


class UploadInvalidError(ContentError):
    """The signed state of an upload is not ours, or belongs to another session."""


class ManifestBlobUnknownError(ContentError):
    """A manifest refers to content that the repository does not have."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests)} referenced blobs or manifests are missing", detail=list(digests))
        self.digests = tuple(digests)


class PolicyError(RegistryError):
    """The request is understood and refused."""


class UnsupportedError(PolicyError):
    """The operation is switched off or not offered."""


class ReadOnlyError(UnsupportedError):
    """The registry takes nothing in for now."""

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason, detail={"readonly": True, "seconds": retry_after})
        self.retry_after = retry_after
        """After how many seconds it does again, where that is known."""


class DeniedError(PolicyError):
    """The caller may not do this."""


class UnauthenticatedError(PolicyError):
    """The caller must say who it is; `challenge` is the `WWW-Authenticate` value."""

    def __init__(self, challenge: str, *, detail: object = None) -> None:
        super().__init__("authentication required", detail=detail)
        self.challenge = challenge


class TooManyRequestsError(PolicyError):
    """The caller should come back after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


class StorageError(Exception):
    """The base of what a port's adapter raises."""


class ObjectNotFoundError(StorageError):
    """Nothing is stored at `key`."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object at {key}")
        self.key = key


class ObjectTooLargeError(StorageError):
    """The object at `key` is larger than the caller was ready to hold."""

    def __init__(self, key: str, *, size: int, limit: int) -> None:
        super().__init__(f"object at {key} has {size} bytes, more than {limit}")
        self.key = key
        self.size = size
        self.limit = limit


class ObjectBusyError(StorageError):
    """Another writer holds `key` right now."""

    def __init__(self, key: str) -> None:
        super().__init__(f"another writer holds {key}")
        self.key = key


class StorageUnavailableError(StorageError):
    """The backend cannot be reached, refuses, or is full; a later attempt may succeed."""


class StorageFullError(StorageUnavailableError):
    """The backend has no room for what was to be written; reads and deletes go on."""


class CatalogLostError(StorageUnavailableError):
    """The catalog's index is there no more (dropped, removed), nor are its names: a rebuild makes it anew."""


class StorageCorruptError(StorageError):
    """What is stored cannot be what was written."""


class ContentDamagedError(StorageCorruptError):
    """The stored bytes of a blob or manifest are not those of its `digest`; a push of it repairs them."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"the stored data of {digest} is damaged")
        self.digest = digest


class AuditUnavailableError(StorageError):
    """The audit log cannot be written; the message is for operators."""


class ImageLayoutError(StorageError):
    """An OCI image layout cannot be read or written, or is none."""
