"""Contract tests of all authenticators."""

import json
import time

import pytest
from joserfc.jwk import KeySet

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.combined import CombinedAuthenticator
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.auth.token import TokenAuthenticator
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.access_keys.service import AccessKeys
from core.ports.authenticator import CredentialsExpiredError
from tests.contracts.authenticator_contract import AuthenticatorContract
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.token_keys import ISSUER, NOW, REALM, SERVICE, claims, make_key, sign


def new_keys() -> AccessKeys:
    return AccessKeys(
        InMemoryBlobStorage(now=lambda: NOW), entropy=lambda count: b"1" * count, clock=lambda: 0.0, now=lambda: NOW
    )


class TestOpenAuthenticator(AuthenticatorContract):
    REFUSES = False
    KNOWS_USERS = False

    @pytest.fixture
    def authenticator(self):
        return OpenAuthenticator()

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make


class TestSillyAuthenticator(AuthenticatorContract):
    REFUSES = False

    @pytest.fixture
    def authenticator(self):
        return SillyAuthenticator(realm="r", service="s")

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return "whatever"

        return make


class TestHtpasswdAuthenticator(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, tmp_path):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
        async with HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic) as opened:
            yield opened

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make


class TestAccessKeyAuthenticator(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, tmp_path):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
        inner = HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)
        async with AccessKeyAuthenticator(inner, new_keys()) as opened:
            yield opened

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make


def tokens_of(folder, key):
    key_set = folder / "jwks.json"
    key_set.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    return TokenAuthenticator(realm=REALM, issuer=ISSUER, service=SERVICE, key_set_path=str(key_set), now=lambda: NOW)


class TestCombinedAuthenticator(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, tmp_path):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
        users = HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)
        async with CombinedAuthenticator(users, tokens_of(tmp_path, make_key("ES256"))) as opened:
            yield opened

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make


class TestLoginTokenBesideTokens(AuthenticatorContract):
    @pytest.fixture
    def key(self):
        return make_key("ES256")

    @pytest.fixture
    async def authenticator(self, tmp_path, key):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
        inner = HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)
        others = tokens_of(tmp_path, key)
        async with LoginTokenAuthenticator(
            inner, accounts=inner, secret=b"s", now=lambda: NOW, others=others
        ) as opened:
            yield opened

    @pytest.fixture
    def good(self):
        async def make() -> str:
            return basic("alice", "secret")

        return make

    async def test_tokens_of_both_issuers_are_accepted(self, authenticator, key):
        issued = await authenticator.exchange(basic("alice", "secret"))
        token = sign({"alg": "ES256", "kid": key.thumbprint()}, claims(), key)
        own = await authenticator.authenticate(f"Bearer {issued.token}")
        other = await authenticator.authenticate(f"Bearer {token}")
        assert (own.name, own.grants) == ("alice", None)
        assert (other.name, other.grants) == ("alice", ())

    async def test_late_token_of_the_other_issuer_has_expired(self, authenticator, key):
        late = claims(exp=int(NOW.timestamp()) - 3600)
        with pytest.raises(CredentialsExpiredError):
            await authenticator.authenticate(f"Bearer {sign({'alg': 'ES256', 'kid': key.thumbprint()}, late, key)}")


class TestLoginTokenAuthenticator(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, tmp_path):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
        inner = HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)
        async with LoginTokenAuthenticator(inner, accounts=inner, secret=b"s", now=lambda: NOW) as opened:
            yield opened

    @pytest.fixture
    def good(self, authenticator):
        async def make() -> str:
            issued = await authenticator.exchange(basic("alice", "secret"))
            return f"Bearer {issued.token}"

        return make


class TestTokenAuthenticator(AuthenticatorContract):
    @pytest.fixture
    def key(self):
        return make_key("ES256")

    @pytest.fixture
    async def authenticator(self, tmp_path, key):
        async with tokens_of(tmp_path, key) as opened:
            yield opened

    @pytest.fixture
    def good(self, key):
        async def make() -> str:
            return "Bearer " + sign({"alg": "ES256", "kid": key.thumbprint()}, claims(), key)

        return make
