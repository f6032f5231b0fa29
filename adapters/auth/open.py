"""`auth: none`: no authentication."""

from collections.abc import Sequence

from typing_extensions import override

from core.model.access import ANONYMOUS, Access, Principal
from core.ports.authenticator import Asked, Authenticator, Fault


class OpenAuthenticator(Authenticator):
    """Treats every client as anonymous and ignores credentials, which clients send if they have them stored."""

    name = "none"

    @property
    @override
    def is_open(self) -> bool:
        return True

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        return ANONYMOUS

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        # A rule denies access, and no credentials would help; but a 401 must carry a challenge.
        return 'Basic realm="none"'
