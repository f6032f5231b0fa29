"""`/v2/_sohu/registry/retention` and `/v2/<name>/_sohu/registry/retention`."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model.access import ADMINISTRATION, AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.retention.rules import RetentionRule
from core.store import layout
from entrypoints.http.authentication import accesses_of
from entrypoints.http.routes import match
from tests.http.conftest import error_codes
from tests.http.test_trash_api import IMAGE, NEW, ask, get, push
from tests.support.core_services import NOW, CoreServices
from tests.support.links import links_of

ALL = "/v2/_sohu/registry/retention"
RULES = (RetentionRule(repositories=("team/*",), keep_last=1),)


def of(name):
    return f"/v2/{name}/_sohu/registry/retention"


@pytest.fixture
def services():
    return CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW), retention_rules=RULES)


async def fill(api, *names):
    for name in names:
        await push(api, name, "v1")
        await push(api, name, "v2", content=NEW)


async def test_plan_shows_which_tags_would_go_and_why(api, services):
    await fill(api, "team/app")
    before = await services.keys(layout.REPOSITORIES)
    plan, _ = await get(api, of("team/app"))
    assert plan["repository"] == "team/app"
    first, second = sorted(plan["tags"], key=lambda tag: tag["tag"])
    assert (first["tag"], first["digest"], first["delete"]) == ("v1", Digest.of(IMAGE), True)
    assert (first["reasons"], first["pulled"]) == (["not kept by any rule"], None)
    assert (second["delete"], second["reasons"]) == (False, ["rule 1: among the last 1"])
    assert await get(api, ALL) == ({"repositories": [plan]}, None)
    assert await services.keys(layout.REPOSITORIES) == before


async def test_pages_show_each_repository_once(api):
    names = [f"team/{number}" for number in range(5)]
    await fill(api, "a", *names, "z")
    found = []
    path: str | None = f"{ALL}?n=2"
    while path:
        document, link = await get(api, path)
        assert len(document["repositories"]) <= 2
        found += [plan["repository"] for plan in document["repositories"]]
        path = links_of(link).get("next")
    assert found == names
    assert await get(api, f"{ALL}?n=0") == ({"repositories": []}, None)


async def test_repository_without_a_rule_has_an_empty_plan(api):
    await fill(api, "other")
    assert await get(api, of("other")) == ({"repository": "other", "tags": []}, None)
    assert await get(api, ALL) == ({"repositories": []}, None)


@pytest.mark.parametrize("name", ["team/unknown", "unknown"])
async def test_unknown_repository_is_404(api, name):
    assert await ask(api, "GET", of(name)) == (404, ["NAME_UNKNOWN"])


async def test_malformed_requests_are_refused(api):
    assert await ask(api, "GET", f"{ALL}?n=x") == (400, ["PAGINATION_NUMBER_INVALID"])
    assert await ask(api, "GET", of("Team/app")) == (400, ["NAME_INVALID"])
    for path in (ALL, of("team/app")):
        async with api.request("POST", path, json={}) as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
            assert await error_codes(response) == ["UNSUPPORTED"]


async def test_rights(start):
    api = await start()
    await fill(api, "team/app", "team/other")
    pulls = Rule(who=("anonymous",), repositories=("team/app",), actions=(RuleAction.PULL,))
    users = await start(policy=AccessPolicy(rules=(pulls,)))
    assert (await get(users, of("team/app")))[0]["repository"] == "team/app"
    assert await ask(users, "GET", of("team/other")) == (403, ["DENIED"])
    assert await ask(users, "GET", ALL) == (403, ["DENIED"])
    assert accesses_of(match(ALL), "GET", None) == (ADMINISTRATION,)
    administrates = Rule(who=("anonymous",), actions=(RuleAction.ADMIN,))
    operators = await start(policy=AccessPolicy(rules=(administrates,)))
    assert len((await get(operators, ALL))[0]["repositories"]) == 2
    assert await ask(operators, "GET", of("team/app")) == (403, ["DENIED"])
