"""joserfc with the algorithms that count and the errors that it raises; in one place, so that no call forgets one."""

from collections.abc import Sequence
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from typing_extensions import override

from core.ports.authenticator import CredentialsInvalidError

ALGORITHMS: Final = (
    *("EdDSA", "Ed25519"),
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("HS256", "HS384", "HS512"),
)
"""All that may ever be allowed. `none` is not among them; an HS algorithm needs an `oct` key, which joserfc checks."""


class SigningRegistry(JWSRegistry):
    """The algorithms allowed, and nothing else.

    Raises:
        ValueError: one is unknown; the message lists those that are known.
    """

    # A header may bring a chain of certificates; that of the request as a whole is bounded by the server.
    max_header_length = 32 * 1024

    def __init__(self, algorithms: Sequence[str]) -> None:
        unknown = [name for name in algorithms if name not in ALGORITHMS]
        if unknown or not algorithms:
            raise ValueError(f"unknown signing algorithms {', '.join(unknown)}: known are {', '.join(ALGORITHMS)}")
        super().__init__(algorithms=list(algorithms), strict_check_header=False)

    @override
    def get_alg(self, name: str) -> Any:
        # joserfc's own warns of names that are out of fashion, with each token.
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


def decode_token(token: str, key: Any, registry: SigningRegistry) -> jwt.Token:
    """Return a token whose signature is good; its claims are not looked at.

    Args:
        token: any text of a stranger.
        key: the key, or a function that chooses one by the token's header.
        registry: the algorithms that count.

    Raises:
        CredentialsInvalidError: the token is refused. Of joserfc's words only the kind of error is shown: the rest may
            quote the token.
    """
    try:
        return jwt.decode(token, key, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        # RecursionError: JSON that is nested a thousand times fits into a header.
        raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}") from None
