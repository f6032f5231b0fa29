"""From the code that a browser brings to the record of the user."""

from datetime import timedelta

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.external_users.identities import IdentityRules
from core.external_users.service import ExternalUsers
from core.external_users.sign_in import ExternalSignIn
from core.ports.identity_provider import IdentityProvider, SignInRefusedError, SignInRequest
from tests.support.simulated_time import SimulatedTime

REQUEST = SignInRequest(redirect_uri="https://registry.example/ui/_callback", nonce="n", verifier="v" * 43)


class OneCodeProvider(IdentityProvider):
    """Accepts the code `right`, for the claims that a test sets."""

    def __init__(self, claims):
        self.claims = claims
        self.wanted: object = None

    @override
    async def authorization_url(self, request, *, state):
        return f"https://id.example/?state={state}"

    @override
    async def redeem(self, code, request, *, issuer, wanted):
        self.wanted = wanted
        if code != "right":
            raise SignInRefusedError("wrong code")
        return self.claims

    @override
    async def sign_out_url(self, return_to):
        return None


@pytest.fixture
def begin():
    time = SimulatedTime()

    def make(**claims):
        users = ExternalUsers(
            InMemoryBlobStorage(now=time.now), remember=timedelta(days=1), entropy=bytes, clock=time.clock, now=time.now
        )
        provider = OneCodeProvider({"preferred_username": "alice", **claims})
        return ExternalSignIn(provider, users, IdentityRules(), client="p c", label="Example")

    return make


async def test_code_becomes_a_user(begin):
    sign_in = begin(sub="1", groups=["dev"])
    async with sign_in.provider:
        user = await sign_in.finish("right", REQUEST, issuer=None)
    assert (user.name, user.groups, user.provider, user.subject) == ("oidc:alice", {"oidc:dev"}, "p c", "1")
    assert await sign_in.users.find("oidc:alice") == user
    assert sign_in.provider.wanted == {"preferred_username", "groups"}


@pytest.mark.parametrize(("code", "sub"), [("wrong", "1"), ("right", None), ("right", ""), ("right", 1)])
async def test_refused_sign_in_records_no_user(begin, code, sub):
    sign_in = begin(sub=sub)
    with pytest.raises(SignInRefusedError):
        await sign_in.finish(code, REQUEST, issuer=None)
    assert [user async for user in sign_in.users.listed()] == []
