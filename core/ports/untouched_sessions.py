"""The port for upload sessions that no request has written to yet, shared by the processes of one server."""

from abc import ABC, abstractmethod


class UntouchedSessions(ABC):
    """The upload sessions that a process of this server started and that have had no further request since.

    Such a session is empty, so its first chunk needs no search for staged bytes. The entries are hints: a lost one
    costs requests to the store. If two requests take a session at the same moment, both may succeed, as on two
    replicas; `Stamp` then shows whose bytes are staged. No method raises or waits.
    """

    @abstractmethod
    def add(self, upload_id: str) -> None:
        """Record a session that was just started."""

    @abstractmethod
    def take(self, upload_id: str) -> bool:
        """Return whether the session is recorded, and remove it: all later calls return False."""
