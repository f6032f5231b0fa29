"""Requests that the store does not support, remembered from its first refusal."""

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from core.errors import StorageUnavailableError

_logger = logging.getLogger(__name__)


class Capability(StrEnum):
    """A kind of request for which the adapter has a fallback."""

    BATCH_DELETE = "DeleteObjects"
    PART_COPY = "UploadPartCopy"
    CONDITIONAL_WRITE = "If-None-Match"
    UPLOAD_LISTING = "ListMultipartUploads"


_FALLBACKS: Final[Mapping[Capability, str]] = {
    Capability.BATCH_DELETE: "deleting objects one by one",
    Capability.PART_COPY: "copying large objects in one request",
    Capability.CONDITIONAL_WRITE: "conditional writes are exclusive within one process only",
    Capability.UPLOAD_LISTING: "finding multipart uploads by their records only",
}


class Capabilities:
    """The capabilities that the store lacks; one per open client, for any number of tasks."""

    def __init__(self) -> None:
        self._refusals: dict[Capability, str] = {}

    def has(self, capability: Capability) -> bool:
        """Whether the store has not refused `capability` so far."""
        return capability not in self._refusals

    def lacks(self, capability: Capability, refusal: StorageUnavailableError) -> None:
        """Record that the store refused `capability`, and log the first refusal."""
        if self.has(capability):
            self._refusals[capability] = str(refusal)
            _logger.warning("%s; %s", refusal, _FALLBACKS[capability])

    def findings(self) -> Mapping[Capability, str]:
        """Return the store's refusal and the fallback for each refused request."""
        return {each: f"{refusal}; {_FALLBACKS[each]}" for each, refusal in self._refusals.items()}
