"""Signing in at the identity provider: from the code that a browser brings to the record of the user."""

from core.external_users.identities import IdentityRules
from core.external_users.service import ExternalUsers
from core.external_users.user import ExternalUser
from core.ports.identity_provider import IdentityProvider, SignInRefusedError, SignInRequest


class ExternalSignIn:
    """Signs people in at one provider; one per process. The provider is opened and closed elsewhere.

    Args:
        provider: the identity provider.
        users: receives the users who sign in.
        rules: names the user of an ID token.
        client: names the provider and the registry's client there, within which subjects are unique.
        label: name of the provider for people.
    """

    def __init__(
        self, provider: IdentityProvider, users: ExternalUsers, rules: IdentityRules, *, client: str, label: str
    ) -> None:
        self.provider = provider
        self.users = users
        self.label = label
        self._rules = rules
        self._client = client

    async def finish(self, code: str, request: SignInRequest, *, issuer: str | None) -> ExternalUser:
        """Exchange a code for a user, and record the sign-in. Costs two storage requests.

        Args:
            code: the code that the browser brought.
            request: the sign-in as it began.
            issuer: the parameter `iss` of the browser; None without one.

        Raises:
            SignInRefusedError: the provider or the rules of the registry refuse the sign-in.
            TooManyRequestsError: too many codes are being exchanged.
            IssuerUnavailableError: the provider gave no usable answer.
        """
        claims = await self.provider.redeem(code, request, issuer=issuer, wanted=self._rules.claims)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise SignInRefusedError("the ID token has no subject")
        name, groups = self._rules.identify(claims)
        return await self.users.record(name=name, groups=groups, provider=self._client, subject=subject)
