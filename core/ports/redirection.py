"""The port for redirects: URLs outside the registry at which clients get blobs."""

from abc import abstractmethod

from core.model.events import Actor
from core.ports.resource import Resource


class Redirector(Resource):
    """Names the URL of an object for a client. One per process, opened as a context manager; for any number of tasks.

    Opening raises `CredentialSourceError` if a file with a key is missing or unusable.
    """

    @abstractmethod
    async def url(self, key: str, *, by: Actor) -> str | None:
        """Return a URL at which `by` may `GET` the object at `key`; None if the registry has to send it.

        The URL is valid for at least some minutes. No storage request: the object may not exist.
        """
