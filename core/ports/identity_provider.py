"""The port for sign-ins of people at an identity provider (OpenID Connect, authorization code with PKCE)."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from core.ports.resource import Resource


class SignInRefusedError(Exception):
    """A sign-in is refused. The message is for the log and contains no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRequest:
    """One sign-in of one browser; the provider gets the same values at its beginning and its end."""

    redirect_uri: str
    """The absolute URL to which the provider sends the browser back."""
    nonce: str
    """Binds the ID token to this sign-in."""
    verifier: str
    """The secret of PKCE (RFC 7636): 43 to 128 unreserved characters."""


class IdentityProvider(Resource):
    """A provider at which people sign in. One per process, opened as a context manager; safe for concurrent tasks.

    Opening contacts no other host, so that a registry starts while the provider is down.
    """

    @abstractmethod
    async def authorization_url(self, request: SignInRequest, *, state: str) -> str:
        """Return the URL at which a browser begins a sign-in.

        Args:
            request: the sign-in, of which the URL contains the nonce and the hash of the verifier.
            state: returned by the provider with the code.

        Raises:
            IssuerUnavailableError: the addresses of the provider cannot be read.
        """

    @abstractmethod
    async def redeem(
        self, code: str, request: SignInRequest, *, issuer: str | None, wanted: Collection[str]
    ) -> Mapping[str, object]:
        """Exchange a code for the claims of an ID token, whose signature, issuer, audience, times and nonce are valid.

        Args:
            code: the code that the browser brought.
            request: the sign-in as it began.
            issuer: the parameter `iss` of the browser (RFC 9207); None without one.
            wanted: the claims that the caller uses. If the ID token lacks one, the claims of the provider's userinfo
                endpoint are added.

        Raises:
            SignInRefusedError: the code, the issuer or the ID token is refused.
            TooManyRequestsError: too many codes are being exchanged.
            IssuerUnavailableError: the provider gave no usable answer.
        """

    @abstractmethod
    async def sign_out_url(self, return_to: str) -> str | None:
        """Return the URL at which a browser ends its session at the provider; None if the provider has none.

        Args:
            return_to: the absolute URL to which the provider may send the browser then.

        Raises:
            IssuerUnavailableError: the addresses of the provider cannot be read.
        """
