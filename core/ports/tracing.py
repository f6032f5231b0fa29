"""The port for tracing: spans of requests and storage operations, connected to the client's trace."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

SetStatus = Callable[[int], None]
"""Sets the HTTP status of the response."""
StorageObserver = Callable[[str, float, type[BaseException] | None], None]
"""Called after a storage operation with its name, its duration in seconds, and the error type if it failed."""


class Tracer(ABC):
    """Records spans. One per process, created after the fork, closed with the process. No method raises."""

    @abstractmethod
    def request(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> AbstractContextManager[SetStatus]:
        """Record the block as one span; spans that the same task starts inside the block become its children.

        Args:
            name: method and route; few values, without repository names.
            headers: the request headers; a `traceparent` header (W3C Trace Context) gives the parent.
            attributes: further attributes, with OpenTelemetry's names.
        """

    @property
    @abstractmethod
    def trace_id(self) -> str:
        """The trace id of the current task's span, as 32 hexadecimal digits; empty outside a span."""

    @abstractmethod
    def storage_observer(self, driver: str) -> StorageObserver:
        """Return a callback that an instrumented storage calls after each operation, inside or outside of requests."""

    @abstractmethod
    def close(self) -> None:
        """Send buffered spans, for some seconds at most. Blocks."""
