"""No anonymous request causes a 5xx or passes a guarded route, whatever it contains."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from tests.http.conftest import SECRET
from tests.support.core_services import NOW
from tests.support.htpasswd import write_htpasswd

# No control characters, which no HTTP client sends, and no character that ends the path.
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#%\\"), max_size=30)
NAMES = st.sampled_from(["private/app", "public/app", "a", "UPPER", "a:5000/b", "x" * 300]) | TEXT
DIGEST = Digest.of(b"")
ROUTES = st.sampled_from(
    [
        "/v2/{}/tags/list",
        "/v2/{}/manifests/{}",
        "/v2/{}/blobs/{}",
        f"/v2/{{}}/blobs/{DIGEST}",
        "/v2/{}/blobs/uploads/",
        "/v2/{}/blobs/uploads/{}",
        f"/v2/{{}}/referrers/{DIGEST}",
        "/v2/_catalog",
        "/v2/",
        "/auth/token",
    ]
)
HEADERS = st.none() | st.builds("{} {}".format, st.sampled_from(["Basic", "Bearer", "bearer", "Digest"]), TEXT)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])


@pytest.fixture
async def guarded(start, tmp_path):
    users = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=time.monotonic)
    rules = (
        Rule(who=("anonymous",), repositories=("public/*",), actions=(RuleAction.PULL,)),
        Rule(who=("alice",), actions=tuple(RuleAction)),
    )
    return await start(
        authenticator=LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: NOW),
        policy=AccessPolicy(rules=rules),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=METHODS,
    route=ROUTES,
    names=st.tuples(NAMES, TEXT),
    authorization=HEADERS,
    query=st.dictionaries(st.sampled_from(["from", "mount", "digest", "_state", "n", "last", "tag"]), TEXT),
)
async def test_anonymous_requests_are_refused_whatever_they_contain(
    guarded, *, method, route, names, authorization, query
):
    path = route.format(*names)
    headers = {"Authorization": authorization} if authorization else {}
    async with guarded.request(method, path, params=query, headers=headers) as response:
        assert response.status < 500, (method, path)
        redirect = response.headers["Location"] if response.status in {301, 308} else None
    if redirect is not None:
        # Doubled slashes lead to the clean path, which is refused as any other.
        path = redirect.partition("?")[0]
        assert "//" not in path
    async with guarded.request(
        method, redirect or path, params=None if redirect else query, headers=headers
    ) as response:
        assert response.status < 500, (method, path)
        is_open = path.startswith(("/v2/public/", "/auth/token")) or method == "OPTIONS" or response.status == 404
        if not is_open:
            assert response.status == 401, (method, path)
        if response.status == 401:
            assert response.headers["WWW-Authenticate"].startswith(("Bearer ", "Basic "))
    assert not [key for key in await guarded.services.keys() if "_uploads" in key]
