"""Contract tests of all authenticators."""

import json
import time
from datetime import timedelta

import pytest
from joserfc.jwk import KeySet

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.combined import CombinedAuthenticator
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.issuer_options import IssuerOptions
from adapters.auth.login_tokens import LoginTokenAuthenticator, TokenServer
from adapters.auth.open import OpenAuthenticator
from adapters.auth.passwordless import PasswordlessAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.auth.token import TokenAuthenticator
from adapters.auth.workloads import TrustedWorkloads, WorkloadAuthenticator
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.access_keys.key import EVERYWHERE, limit_to
from core.access_keys.service import AccessKeys
from core.model.workloads import WorkloadRule
from core.ports.authenticator import CredentialsExpiredError
from tests.contracts.authenticator_contract import AuthenticatorContract
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.identity_provider import IdentityProvider
from tests.support.token_keys import ISSUER, NOW, REALM, SERVICE, claims, make_key, sign


@pytest.fixture
def users(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    return HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)


@pytest.fixture
def keys():
    return AccessKeys(
        InMemoryBlobStorage(now=lambda: NOW), entropy=lambda count: b"1" * count, clock=lambda: 0.0, now=lambda: NOW
    )


@pytest.fixture
def signing_key():
    return make_key("ES256")


@pytest.fixture
def tokens(tmp_path, signing_key):
    key_set = tmp_path / "jwks.json"
    key_set.write_text(json.dumps(KeySet([signing_key]).as_dict(private=False)))
    return TokenAuthenticator(realm=REALM, issuer=ISSUER, service=SERVICE, key_set_path=str(key_set), now=lambda: NOW)


def token_of(key, **changes):
    return "Bearer " + sign({"alg": "ES256", "kid": key.thumbprint()}, claims(**changes), key)


class PasswordAuthenticatorContract(AuthenticatorContract):
    """Contract of an authenticator that knows alice's password."""

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make


class TestOpenAuthenticator(PasswordAuthenticatorContract):
    REFUSES = False
    KNOWS_USERS = False
    METHOD = ""

    @pytest.fixture
    def authenticator(self):
        return OpenAuthenticator()


class TestSillyAuthenticator(PasswordAuthenticatorContract):
    REFUSES = False
    METHOD = "silly"

    @pytest.fixture
    def authenticator(self):
        return SillyAuthenticator(realm="r", service="s")


class TestHtpasswdAuthenticator(PasswordAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users):
        async with users:
            yield users


class TestAccessKeyAuthenticator(PasswordAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users, keys):
        async with AccessKeyAuthenticator(users, keys, accounts=users) as opened:
            yield opened

    async def test_key_is_the_method_of_its_bearer(self, authenticator, keys):
        key, token = await keys.create(owner="alice", label="ci", limit=limit_to(EVERYWHERE, ["pull"]))
        principal = await authenticator.authenticate(f"Bearer {token}")
        assert (principal.name, principal.method, principal.key) == ("alice", "key", key.id)


class TestCombinedAuthenticator(PasswordAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users, tokens):
        async with CombinedAuthenticator(users, tokens=tokens) as opened:
            yield opened


class TestLoginTokenBesideTokens(PasswordAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users, tokens):
        async with LoginTokenAuthenticator(
            CombinedAuthenticator(users, tokens=tokens), accounts=users, secret=b"s", now=lambda: NOW
        ) as opened:
            yield opened

    async def test_tokens_of_both_issuers_are_accepted(self, authenticator, signing_key):
        issued = await authenticator.exchange(basic("alice", "secret"))
        own = await authenticator.authenticate(f"Bearer {issued.token}")
        other = await authenticator.authenticate(token_of(signing_key))
        assert (own.name, own.grants, own.method) == ("alice", None, "htpasswd")
        assert (other.name, other.grants, other.method) == ("alice", (), "token")

    async def test_late_token_of_the_other_issuer_has_expired(self, authenticator, signing_key):
        with pytest.raises(CredentialsExpiredError):
            await authenticator.authenticate(token_of(signing_key, exp=int(NOW.timestamp()) - 3600))


class TestLoginTokenAuthenticator(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users):
        async with LoginTokenAuthenticator(users, accounts=users, secret=b"s", now=lambda: NOW) as opened:
            yield opened

    @pytest.fixture
    def good(self, authenticator):
        async def make() -> str:
            issued = await authenticator.exchange(basic("alice", "secret"))
            assert issued.principal.name == "alice"
            return f"Bearer {issued.token}"

        return make


class TestTokenAuthenticator(AuthenticatorContract):
    METHOD = "token"

    @pytest.fixture
    async def authenticator(self, tokens):
        async with tokens:
            yield tokens

    @pytest.fixture
    def good(self, signing_key):
        async def make() -> str:
            return token_of(signing_key)

        return make


class TestPasswordlessAuthenticator(PasswordAuthenticatorContract):
    KNOWS_USERS = False
    METHOD = ""

    @pytest.fixture
    def authenticator(self):
        return PasswordlessAuthenticator()

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("", "")

        return make


@pytest.fixture(scope="module")
def provider():
    with IdentityProvider(algorithm="ES256", now=NOW) as running:
        yield running


@pytest.fixture
def workloads(provider):
    rule = WorkloadRule(audiences=("registry.example",), when={"sub": ("**",)}, user="ci:{repository}")
    trusted = [TrustedWorkloads(IssuerOptions(url=provider.url), rule)]
    return WorkloadAuthenticator(trusted, now=lambda: NOW, clock=lambda: 0.0)


class WorkloadAuthenticatorContract(AuthenticatorContract):
    """Contract of an authenticator that accepts tokens of the provider."""

    METHOD = "workload"

    @pytest.fixture
    def good(self, provider):
        async def make() -> str:
            return basic("anybody", provider.token())

        return make


class TestWorkloadAuthenticator(WorkloadAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, workloads):
        async with workloads:
            yield workloads


class TestWorkloadsBesideUsers(WorkloadAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, users, tokens, workloads):
        async with CombinedAuthenticator(users, tokens=tokens, workloads=workloads) as opened:
            yield opened

    async def test_each_method_accepts_its_own_credentials(self, authenticator, provider, signing_key):
        good = [basic("alice", "secret"), token_of(signing_key), f"Bearer {provider.token()}"]
        principals = [await authenticator.authenticate(each) for each in good]
        assert [each.method for each in principals] == ["htpasswd", "token", "workload"]


class TestTokenServer(WorkloadAuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, workloads):
        combined = CombinedAuthenticator(PasswordlessAuthenticator(), workloads=workloads)
        async with TokenServer(combined, secret=b"s", now=lambda: NOW) as opened:
            yield opened

    async def test_issued_token_identifies_the_same_workload(self, authenticator, good):
        issued = await authenticator.exchange(await good())
        principal = await authenticator.authenticate(f"Bearer {issued.token}")
        assert (principal.name, principal.groups) == (issued.principal.name, issued.principal.groups)
        assert principal.method == "workload"
        assert principal.expires_at == NOW + timedelta(minutes=5)
