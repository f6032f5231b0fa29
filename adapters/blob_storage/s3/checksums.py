"""Checksums of bodies: the store rejects a body that changed on its way.

Every S3 store verifies `Content-MD5`. A store that also verifies S3's CRC32 returns it in the answer. The first bodies
are sent with both; once an answer contains the CRC32, later bodies are sent with the CRC32 alone, which costs a fifth
of the processor time here, and as much less in the store.
"""

from collections.abc import Mapping
from typing import Any

from adapters.blob_storage.s3.body import HASH_INLINE_BYTES_MAX, Body
from core.errors import StorageUnavailableError


class Crc32Support:
    """Which operations verify a CRC32, learned from answers; one per open client, for any number of tasks.

    Args:
        may_exist: whether to find out; otherwise no CRC32 is sent.
    """

    def __init__(self, *, may_exist: bool) -> None:
        self._may_exist = may_exist
        self._known: dict[str, bool] = {}

    def may_have(self, operation: str) -> bool:
        """Whether the operation (botocore's name) verifies a CRC32, or may do so."""
        return self._known.get(operation, self._may_exist)

    def lacks(self, operation: str) -> None:
        """Record that the store refused a CRC32."""
        self._known[operation] = False

    async def of(self, operation: str, body: Body) -> str | None:
        """Return the CRC32 to send with a body, or None for a short body or a store that does not verify it."""
        if len(body) <= HASH_INLINE_BYTES_MAX or not self.may_have(operation):
            return None
        return await body.crc32()

    def suffices(self, operation: str, crc32: str | None) -> bool:
        """Whether a body with this CRC32 needs no `Content-MD5`."""
        return crc32 is not None and self._known.get(operation, False)

    def learn(self, operation: str, crc32: str | None, answer: Mapping[str, Any], *, sufficed: bool) -> None:
        """Record whether the answer to a body confirms its CRC32.

        Raises:
            StorageUnavailableError: the CRC32 was the only checksum, and the store did not verify it.
        """
        if crc32 is None:
            return
        self._known[operation] = answer.get("ChecksumCRC32") == crc32
        if sufficed and not self._known[operation]:
            raise StorageUnavailableError(f"{operation}: the store has not verified the checksum")
