"""The adapter for sign-ins satisfies the contract."""

import time
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession

from adapters.auth.issuer_options import IssuerOptions
from adapters.auth.issuers import Issuer
from adapters.auth.oidc import OidcClient, OidcProvider
from core.model.secret import Secret
from core.ports.authenticator import CredentialSourceError
from tests.contracts.identity_provider_contract import REQUEST, IdentityProviderContract
from tests.support.sign_in_provider import CLIENT, SECRET, SignInProvider


@pytest.fixture(scope="module")
def one_server():
    with SignInProvider(algorithm="ES256") as running:
        running.people.person = {"sub": "1", "preferred_username": "alice"}
        running.discovery = {"authorization_response_iss_parameter_supported": False}
        running.redirect_uris = {REQUEST.redirect_uri}
        yield running


@pytest.fixture
def server(one_server):
    one_server.is_down = False
    return one_server


def provider_at(server, client):
    issuer = Issuer(IssuerOptions(url=server.url), now=lambda: datetime.now(UTC), clock=time.monotonic)
    return OidcProvider(issuer, client)


class TestOidcProvider(IdentityProviderContract):
    @pytest.fixture
    async def provider(self, server):
        async with provider_at(server, OidcClient(id=CLIENT, secret=Secret(SECRET))) as opened:
            yield opened

    @pytest.fixture
    async def follow(self):
        async with ClientSession() as session:

            async def open_url(url):
                async with session.get(url, allow_redirects=False) as response:
                    assert response.status == 302, await response.text()
                    return response.headers["Location"]

            yield open_url

    @pytest.fixture
    def stop(self, server):
        def drop():
            server.is_down = True

        return drop


async def test_secret_comes_from_a_file_that_may_change(server, tmp_path):
    path = tmp_path / "secret"
    path.write_text("\n")
    provider = provider_at(server, OidcClient(id=CLIENT, secret_file=str(path)))
    for content in (b"\n", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(CredentialSourceError):
            await provider.__aenter__()
    path.write_text(f"{SECRET}\n")
    contract = TestOidcProvider()
    async with provider, ClientSession() as session:

        async def follow(url):
            async with session.get(url, allow_redirects=False) as response:
                return response.headers["Location"]

        code = await contract.begin(provider, follow)
        assert await provider.redeem(code, REQUEST, issuer=None, wanted=[])
