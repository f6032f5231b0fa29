"""joserfc restricted to the allowed algorithms, with all of its errors translated in one place."""

from collections.abc import Sequence
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from typing_extensions import override

from adapters.auth.algorithms import ALGORITHMS
from core.json_text import no_garbage_search
from core.ports.authenticator import CredentialsInvalidError


class SigningRegistry(JWSRegistry):
    """joserfc's registry, restricted to the allowed algorithms.

    Raises:
        ValueError: an algorithm is unknown; the message lists the known ones.
    """

    # A header may carry a certificate chain; the server already limits the headers of a request as a whole.
    max_header_length = 32 * 1024

    def __init__(self, algorithms: Sequence[str]) -> None:
        unknown = [name for name in algorithms if name not in ALGORITHMS]
        if unknown or not algorithms:
            raise ValueError(f"unknown signing algorithms {', '.join(unknown)}: known are {', '.join(ALGORITHMS)}")
        super().__init__(algorithms=list(algorithms), strict_check_header=False)

    @override
    def get_alg(self, name: str) -> Any:
        # joserfc's own method warns about discouraged algorithms, once for each token.
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


def decode_token(token: str, key: Any, registry: SigningRegistry) -> jwt.Token:
    """Return a token whose signature is valid; the claims are not checked.

    Args:
        token: any text, from an untrusted client.
        key: the key, or a function that chooses one by the token's header.
        registry: the allowed algorithms.

    Raises:
        CredentialsInvalidError: the token is refused. The message contains only the type of joserfc's error: its text
            may quote the token.
    """
    try:
        with no_garbage_search():
            return jwt.decode(token, key, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        # JSON nested a thousand levels deep fits into a header and raises RecursionError.
        raise CredentialsInvalidError(f"the token is refused: {type(error).__name__}") from None
