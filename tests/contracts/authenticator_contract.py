"""Contract of every `Authenticator`; test classes of adapters inherit from `AuthenticatorContract`."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.model.access import ANONYMOUS, CATALOG, Action, repository_access
from core.ports.authenticator import Accounts, Asked, Authenticator, CredentialsInvalidError, Fault

Good = Callable[[], Awaitable[str]]

ASKED = Asked(root="https://registry.example/", host="registry.example", forwarded_scheme="https")
HOSTILE_NAMES = ['a"b', "a\\b", "a\r\nSet-Cookie: x=y", "é", "a" * 5000, "a,b:c d", "\0"]
MALFORMED = [
    "Basic", "Basic ", "Basic !!!", "Basic YWxpY2U=", "Basic 4pyT", "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    "Basic " + base64.b64encode(b"nobody:nothing").decode(), "Basic " + "A" * 10_000,
    "Bearer", "Bearer ", "Bearer a", "Bearer a.b.c", "Bearer " + "." * 50, "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Digest username=x", "x", ":", "Bearer é",
]  # fmt: skip


NESTED = ["[" * 10_000, '{"alg":"HS256","x":' + "[" * 10_000, '{"a":' * 2_000 + "1" + "}" * 2_000]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["alg", "kid", "jwk", "x5c", "crit", "b64", "typ", "zip", "exp"])
ALGORITHMS = st.sampled_from(["HS256", "ES256", "RS256", "EdDSA", "none"])


def token_of(*parts: str) -> str:
    """Return a `Bearer` header with these parts, base64-encoded."""
    return "Bearer " + ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


class AuthenticatorContract:
    """Subclass as `TestXAuthenticator` and define the two fixtures."""

    REFUSES = True
    """Whether the authenticator rejects invalid credentials."""

    KNOWS_USERS = True
    """Whether valid credentials yield a user name."""

    METHOD = "htpasswd"
    """The method of the principal that `good` identifies."""

    @pytest.fixture
    async def authenticator(self) -> Authenticator:
        """Return an open authenticator."""
        raise NotImplementedError

    @pytest.fixture
    async def good(self) -> Good:
        """Return a function that creates a currently valid `Authorization` for `alice`."""
        raise NotImplementedError

    @pytest.mark.parametrize("authorization", [None, ""])
    async def test_request_without_credentials_is_anonymous(self, authenticator, authorization):
        assert await authenticator.authenticate(authorization) == ANONYMOUS

    async def test_valid_credentials_identify_the_user(self, authenticator, good):
        principal = await authenticator.authenticate(await good())
        assert principal.has_credentials is self.KNOWS_USERS
        assert principal.is_anonymous is not self.KNOWS_USERS
        assert principal.method == self.METHOD

    @pytest.mark.parametrize("authorization", MALFORMED)
    async def test_invalid_credentials_are_refused(self, authenticator, authorization):
        if self.REFUSES:
            with pytest.raises(CredentialsInvalidError) as raised:
                await authenticator.authenticate(authorization)
            assert authorization.partition(" ")[2].strip() not in str(raised.value) or len(authorization) < 10
        else:
            assert (await authenticator.authenticate(authorization)).grants is None

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=st.text(max_size=60), scheme=st.sampled_from(["", "Basic ", "Bearer ", "basic", "BEARER "]))
    async def test_any_header_is_accepted_or_refused(self, authenticator, text, scheme):
        try:
            principal = await authenticator.authenticate(scheme + text)
        except CredentialsInvalidError as error:
            assert error.args  # noqa: PT017 - either outcome is fine, any other exception is not
        else:
            assert principal.grants is None

    @pytest.mark.parametrize("nested", NESTED, ids=lambda text: text[:20])
    async def test_nested_token_is_refused(self, authenticator, nested):
        for parts in ((nested, "{}", "x"), ('{"alg":"HS256"}', nested, "x"), (nested, nested, nested)):
            await self._require_refused(authenticator, token_of(*parts))

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(header=JSON | st.dictionaries(MEMBERS, JSON | ALGORITHMS), claims=JSON)
    async def test_any_forged_token_is_refused(self, authenticator, header, claims):
        await self._require_refused(authenticator, token_of(json.dumps(header), json.dumps(claims), "x"))

    async def _require_refused(self, authenticator, authorization):
        if self.REFUSES:
            with pytest.raises(CredentialsInvalidError):
                await authenticator.authenticate(authorization)
        else:
            assert (await authenticator.authenticate(authorization)).grants is None

    async def test_concurrent_requests_get_the_same_answer(self, authenticator, good):
        authorization = await good()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(authenticator.authenticate(authorization)) for _ in range(20)]
        assert len({task.result() for task in tasks}) == 1

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    @pytest.mark.parametrize("fault", [None, *Fault])
    async def test_challenge_is_one_line(self, authenticator, name, fault):
        accesses = [*repository_access(name, Action.PULL, Action.PUSH), CATALOG]
        challenge = authenticator.challenge(accesses, ASKED, fault)
        assert challenge.isascii()
        assert challenge.isprintable()
        # A client's input must not be able to end a quoted string and thereby add a parameter.
        outside = challenge.replace("\\\\", "").replace('\\"', "").split('"')[::2]
        assert "b" not in "".join(outside).removeprefix("Basic").removeprefix("Bearer").replace("nobody", "")
        assert challenge == authenticator.challenge(accesses, ASKED, fault)

    async def test_account_is_that_of_the_valid_credentials(self, authenticator, good):
        principal = await authenticator.authenticate(await good())
        if isinstance(authenticator, Accounts):
            account = await authenticator.account(principal.name)
            assert account is not None
            assert account.principal == principal
            assert account == await authenticator.account(principal.name)
            assert await authenticator.account("nobody") is None

    async def test_reload_of_the_same_file_changes_nothing(self, authenticator, good):
        authorization = await good()
        before = await authenticator.authenticate(authorization)
        await authenticator.reload()
        assert await authenticator.authenticate(authorization) == before
