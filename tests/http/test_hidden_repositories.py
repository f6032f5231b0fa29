"""Lists reveal nothing about repositories that the caller may not see: no total, no order, no page, no ETag.

Two registries carry out the same changes, and one of them also changes repositories that are hidden from the caller.
Both give the same answers, byte by byte. A new list adds its requests to `REQUESTS`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.audit_log.stream import DisabledAuditLog
from adapters.auth.open import OpenAuthenticator
from config.settings import Settings
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from entrypoints.http.app import create_app
from tests.http.conftest import SECRET, operations_on
from tests.support.links import links_of
from tests.support.scripted_registry import IMAGES, ChangeOf, ScriptedChange, ScriptedRegistry

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

VISIBLE = ("b/app", "b/web", "d/app")
HIDDEN = ("a/app", "b/secret", "c/app", "e/app")
"""Before, between and after the visible ones in every list."""
RULES = (
    Rule(who=("anonymous",), repositories=VISIBLE, actions=(RuleAction.PULL, RuleAction.DELETE)),
    Rule(who=("anonymous",), repositories=("nothing",), actions=(RuleAction.CATALOG,)),
)
TAGS = ("1.0", "1.2", "1.10", "latest")
SORTS = ("name", "-name", "pushed", "-pushed", "pulled", "-pulled", "size", "-size", "semver", "-semver")
TEXTS = ("app", "e", "t1", "1.0", "secret", "label:team=t0", "annotation:kind=k1", "tag:1.2", "name:app", "zzz")
DIGESTS = tuple(f"digest:{Digest.of(image)}" for image in IMAGES)
REQUESTS = (
    "/v2/",
    "/v2/_catalog?n={n}",
    "/v2/_catalog?n={n}&last={repository}",
    "/v2/_oci/ext/discover",
    "/v2/{repository}/_oci/ext/discover",
    "/v2/{repository}/tags/list?n={n}",
    "/v2/{repository}/manifests/{tag}",
    "/v2/{repository}/referrers/{digest}",
    "/v2/{repository}/_oci/tag-history/{tag}?n={n}",
    "/v2/{repository}/_sohu/registry/tags?n={n}&sort={sort}",
    "/v2/{repository}/_sohu/registry/tags?n={n}&sort={sort}&referrers=true&platform=linux/amd64",
    "/v2/{repository}/_sohu/registry/trash?n={n}",
    "/v2/{repository}/_sohu/registry/retention",
    "/v2/_sohu/registry/repositories?n={n}&sort={sort}",
    "/v2/_sohu/registry/repositories?n={n}&sort={sort}&q={text}",
    "/v2/_sohu/registry/repositories?n={n}&last={repository}",
    "/v2/_sohu/registry/search?n={n}&q={text}",
    "/v2/_sohu/registry/trash",
    "/v2/_sohu/registry/usage",
    "/v2/{repository}/_sohu/registry/usage",
    "/v2/_sohu/registry/retention",
    "/v1/_ping",
    "/v1/search?n={n}&q={text}",
)
PAGES_MAX = 12
VARYING = {"date", "x-request-id"}

REPOSITORY = st.sampled_from(VISIBLE + HIDDEN)
CHANGE = st.builds(
    ScriptedChange,
    kind=st.sampled_from(ChangeOf) | st.just(ChangeOf.PUSH),
    repository=REPOSITORY,
    tag=st.sampled_from(TAGS),
    image=st.integers(0, len(IMAGES) - 1),
)
REQUEST = st.builds(
    lambda template, **values: template.format(**values),
    st.sampled_from(REQUESTS),
    n=st.integers(0, 3),
    repository=st.sampled_from((*VISIBLE, *HIDDEN, "b/unknown", "unknown")),
    tag=st.sampled_from(TAGS),
    digest=st.sampled_from([Digest.of(image) for image in IMAGES]),
    sort=st.sampled_from(SORTS),
    text=st.sampled_from(TEXTS + DIGESTS),
)


@asynccontextmanager
async def serve(registry: ScriptedRegistry, policy: AccessPolicy) -> AsyncIterator[TestClient[Any, Any]]:
    """Serve a registry without users, whose anonymous callers see what the policy allows."""
    authenticator = OpenAuthenticator()
    app = create_app(
        registry.registry,
        Settings(),
        authenticator=authenticator,
        policy=policy,
        upload_secret=SECRET,
        now=lambda: datetime.now(UTC),
        audit_log=DisabledAuditLog(),
        operations=operations_on(registry.services),
        lifetimes=[authenticator],
    )
    async with TestClient(TestServer(app)) as client:
        yield client


async def answer(client: TestClient[Any, Any], path: str, etag: str = "") -> tuple[int, dict[str, str], bytes]:
    headers = {"If-None-Match": etag} if etag else {}
    async with client.get(path, headers=headers) as response:
        kept = {name: value for name, value in response.headers.items() if name.lower() not in VARYING}
        return response.status, kept, await response.read()


async def assert_same_answers(one: TestClient[Any, Any], other: TestClient[Any, Any], path: str) -> int:
    """Ask both for the same pages, and return the last status."""
    status = 0
    for _ in range(PAGES_MAX):
        status, headers, body = await answer(one, path)
        assert await answer(other, path) == (status, headers, body), path
        if etag := headers.get("ETag"):
            assert await answer(one, path, etag) == await answer(other, path, etag), path
        following = links_of(headers.get("Link")).get("next")
        if following is None:
            break
        path = following
    return status


@settings(max_examples=30)
@given(changes=st.lists(CHANGE, max_size=14), requests=st.lists(REQUEST, min_size=30, max_size=30))
async def test_registry_with_hidden_repositories_answers_like_one_without(
    changes: Sequence[ScriptedChange], requests: Sequence[str]
) -> None:
    without, with_hidden = ScriptedRegistry(), ScriptedRegistry()
    policy = AccessPolicy(rules=RULES)
    async with serve(without, policy) as one, serve(with_hidden, policy) as other:
        for position, change in enumerate(changes):
            if change.repository in VISIBLE:
                await without.carry_out(change, position)
            await with_hidden.carry_out(change, position)
            # In between, so that the memory of one process is compared, too.
            await assert_same_answers(one, other, requests[position])
        for path in requests[len(changes) :]:
            await assert_same_answers(one, other, path)


async def test_caller_who_sees_all_repositories_gets_other_answers() -> None:
    """The hidden changes of the test above would show."""
    hidden = ScriptedChange(kind=ChangeOf.PUSH, repository="b/secret", tag="1.0", image=0)
    with_hidden = ScriptedRegistry()
    await with_hidden.carry_out(hidden, 0)
    rules = (*RULES, Rule(who=("anonymous",), actions=(RuleAction.PULL,)))
    async with serve(with_hidden, AccessPolicy(rules=rules)) as client:
        assert b"b/secret" in (await answer(client, "/v2/_catalog"))[2]


async def test_every_request_has_an_answer() -> None:
    """The requests of the tests above are those of existing lists; some need the right to administrate."""
    registry = ScriptedRegistry()
    await registry.carry_out(ScriptedChange(kind=ChangeOf.PUSH, repository="b/app", tag="1.0", image=0), 0)
    values = {"repository": "b/app", "tag": "1.0", "digest": DIGESTS[0].removeprefix("digest:")}
    async with serve(registry, AccessPolicy(rules=RULES)) as client:
        for template in REQUESTS:
            path = template.format(n=2, sort="name", text="app", **values)
            assert (await answer(client, path))[0] in {200, 403}, path
