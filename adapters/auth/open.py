"""`auth: none`: nobody is asked who they are."""

from collections.abc import Sequence

from typing_extensions import override

from core.access import ANONYMOUS, Access, Principal
from core.ports.authenticator import Asked, Authenticator, Fault


class OpenAuthenticator(Authenticator):
    """Takes everybody for nobody in particular, credentials or not: clients send what they have stored."""

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
        # Rules refuse something, and no credentials would help; a 401 has to carry a challenge all the same.
        return 'Basic realm="none"'
