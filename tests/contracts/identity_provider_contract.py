"""Contract of every `IdentityProvider`; test classes of adapters inherit from `IdentityProviderContract`."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import IssuerUnavailableError
from core.ports.identity_provider import IdentityProvider, SignInRefusedError, SignInRequest

REQUEST = SignInRequest(redirect_uri="https://registry.example/ui/_callback", nonce="a nonce", verifier="v" * 43)
STATE = "a state"

Follow = Callable[[str], Awaitable[str]]
"""Opens the URL of an authorization as a browser does, and returns the URL to which the provider sends it back."""


class IdentityProviderContract:
    """Subclass as `TestXProvider` and define the fixtures."""

    @pytest.fixture
    async def provider(self) -> IdentityProvider:
        """Return an open provider, at which the person with the subject `1` is signed in."""
        raise NotImplementedError

    @pytest.fixture
    def follow(self) -> Follow:
        raise NotImplementedError

    @pytest.fixture
    def stop(self) -> Callable[[], None]:
        """Return a function after which the provider does not answer."""
        raise NotImplementedError

    async def begin(self, provider: IdentityProvider, follow: Follow) -> str:
        """Return the code of a new sign-in."""
        back = await follow(await provider.authorization_url(REQUEST, state=STATE))
        assert back.startswith(REQUEST.redirect_uri)
        query = parse_qs(urlsplit(back).query)
        assert query["state"] == [STATE]
        return query["code"][0]

    async def test_code_becomes_claims_once(self, provider, follow):
        code = await self.begin(provider, follow)
        claims = await provider.redeem(code, REQUEST, issuer=None, wanted=["preferred_username"])
        assert (claims["sub"], claims["preferred_username"], claims["nonce"]) == ("1", "alice", REQUEST.nonce)
        with pytest.raises(SignInRefusedError):
            await provider.redeem(code, REQUEST, issuer=None, wanted=[])

    async def test_verifier_stays_secret(self, provider):
        assert REQUEST.verifier not in await provider.authorization_url(REQUEST, state=STATE)

    @pytest.mark.parametrize("change", ["redirect_uri", "nonce", "verifier"])
    async def test_code_of_another_sign_in_is_refused(self, provider, follow, change):
        code = await self.begin(provider, follow)
        values = {"redirect_uri": REQUEST.redirect_uri, "nonce": REQUEST.nonce, "verifier": REQUEST.verifier}
        other = SignInRequest(**{**values, change: "w" * 43})
        with pytest.raises(SignInRefusedError):
            await provider.redeem(code, other, issuer=None, wanted=[])

    async def test_answer_of_another_issuer_is_refused(self, provider, follow):
        code = await self.begin(provider, follow)
        with pytest.raises(SignInRefusedError):
            await provider.redeem(code, REQUEST, issuer="https://evil.example", wanted=[])

    async def test_sign_out_leads_back(self, provider):
        url = await provider.sign_out_url("https://registry.example/ui/")
        assert url is not None
        assert parse_qs(urlsplit(url).query)["post_logout_redirect_uri"] == ["https://registry.example/ui/"]

    async def test_provider_that_is_down_is_unavailable(self, provider, stop):
        stop()
        with pytest.raises(IssuerUnavailableError):
            await provider.authorization_url(REQUEST, state=STATE)
        with pytest.raises(IssuerUnavailableError):
            await provider.redeem("code", REQUEST, issuer=None, wanted=[])
