"""The port for traces: what a request did, and when, as a part of what its client did."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

SetStatus = Callable[[int], None]
"""Takes the status of the answer."""
StorageObserver = Callable[[str, float, type[BaseException] | None], None]
"""Takes an operation that has just ended: its name, its seconds, and what ended it."""


class Tracer(ABC):
    """Records spans; one per process, made after the fork, closed with the process. No method raises."""

    @abstractmethod
    def request(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> AbstractContextManager[SetStatus]:
        """Record what happens inside the block as one span; what the same task does in it becomes its children.

        Args:
            name: method and route; few values, no name of a repository.
            headers: of the request; a `traceparent` in them (W3C Trace Context) is the parent.
            attributes: what else to tell, under OpenTelemetry's names.
        """

    @property
    @abstractmethod
    def trace_id(self) -> str:
        """The id of the trace that the running task's span belongs to, as 32 hexadecimal digits; empty outside."""

    @abstractmethod
    def storage_observer(self, driver: str) -> StorageObserver:
        """Return what an instrumented storage is to call after each operation, inside of requests or not."""

    @abstractmethod
    def close(self) -> None:
        """Send what is waiting, for some seconds at most. Blocks."""
