"""The pages of the plan of retention."""

from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model.digest import Digest
from core.model.names import Tag
from core.retention.rules import RetentionRule, TagState, decide
from core.store import layout
from core.store.timeline import Timeline
from entrypoints.web.views.retention import Reason
from tests.http.test_retention_api import fill
from tests.http.test_trash_api import IMAGE, push
from tests.http.web.conftest import Visitor
from tests.support.core_services import NOW, CoreServices

RULES = (
    RetentionRule(repositories=("team/*", "public/*"), tags=("v*",), keep_last=1),
    RetentionRule(repositories=("team/*",), tags=("pr-*",), pulled_within=timedelta(days=30)),
)


@pytest.fixture
def services():
    return CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW), retention_rules=RULES)


async def test_plan_of_all_shows_rules_counts_and_tags(api, visitor, services):
    await fill(api, "team/app", "other")
    before = await services.keys(layout.REPOSITORIES)
    page = await visitor.open("_retention")
    assert page.status == 200
    for text in ("the last image pushed", "tags pulled in the last 30 days", "team/app", "v1"):
        assert text in page.text
    assert "/ui/team/app/_plan" in page.links
    assert "/ui/other/_plan" not in page.links
    assert await services.keys(layout.REPOSITORIES) == before


async def test_plan_of_a_repository_shows_why(api, visitor):
    await fill(api, "team/app")
    await push(api, "team/app", "latest", "pr-1")
    page = await visitor.open("team/app/_plan")
    size = len(IMAGE) + len(b"{}") + len(b"layer")
    assert f"v1 no rule keeps it {size} B" in page.text
    assert "/ui/team/app/_tags/v2" not in page.links
    page = await visitor.open(next(link for link in page.links if "show=staying" in link))
    for text in ("v2 rule 1 the last image", "latest no rule matches", "pr-1 rule 2 may have been pulled"):
        assert text in page.text


async def test_tags_are_shown_page_by_page_in_both_directions(api, visitor):
    tags = [f"x{number:03}" for number in range(150)]
    await push(api, "team/app", *tags)
    page = await visitor.open("team/app/_plan")
    shown = [link.rpartition("/")[2] for link in page.links if "/_tags/" in link]
    assert shown == tags[:100]
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert [link.rpartition("/")[2] for link in page.links if "/_tags/" in link] == tags[100:]
    page = await visitor.open(next(link for link in page.links if "before=" in link))
    assert [link.rpartition("/")[2] for link in page.links if "/_tags/" in link] == tags[:100]


async def test_plans_are_shown_page_by_page(api, visitor):
    for number in range(27):
        await push(api, f"team/n{number:02}", "v1")
    page = await visitor.open("_retention")
    assert len([link for link in page.links if link.endswith("/_plan")]) == 25
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert [link for link in page.links if link.endswith("/_plan")] == ["/ui/team/n25/_plan", "/ui/team/n26/_plan"]
    assert "Back to the first page" in page.text


async def test_repositories_without_a_decision(api, visitor):
    assert "No rule covers a repository that has tags" in (await visitor.open("_retention")).text
    await push(api, "other", "v1")
    assert "No rule covers this repository" in (await visitor.open("other/_plan")).text
    await push(api, "team/app", "v1")
    assert "The rules keep each tag" in (await visitor.open("team/app/_plan?show=going")).text
    for path in ("team/unknown/_plan", "team/app/_plan/x", "_retention/x"):
        assert (await visitor.open(path)).status == 404


async def test_registry_without_rules_shows_how_to_configure_them(services, start):
    services.retention_rules = ()
    services.__post_init__()
    visitor = Visitor(await start())
    page = await visitor.open("_retention")
    assert "keeplast: 10" in page.text
    await push(visitor.api, "a", "v1")
    assert "No retention rules" in (await visitor.open("a/_plan")).text


async def test_rights(start_with_users, services):
    visitor = Visitor(await start_with_users())
    assert (await visitor.open("_retention")).path.startswith("/ui/_sign-in")
    assert (await visitor.open("team/app/_plan")).path.startswith("/ui/_sign-in")
    await visitor.sign_in("bob", "b")
    assert (await visitor.open("_retention")).status == 403
    assert (await visitor.open("secret/app/_plan")).status == 403
    # Bob may pull there; the repository does not exist.
    assert (await visitor.open("team/app/_plan")).status == 404
    await visitor.sign_in("alice", "secret")
    assert (await visitor.open("_retention")).status == 200


async def test_plan_speaks_chinese(api, visitor):
    await fill(api, "team/app")
    visitor.language = "zh"
    assert "没有规则保留它" in (await visitor.open("team/app/_plan")).text
    assert "最近推送的 1 个镜像" in (await visitor.open("_retention")).text


def test_each_reason_of_the_core_is_understood():
    old, digest = NOW - timedelta(days=90), Digest.of(b"image")
    signature = Tag(f"sha256-{digest.encoded}.sig")
    states = [
        TagState(tag=Tag(tag), digest=Digest.of(tag.encode()), pushed_at=old, pulled_at=pulled, **options)
        for tag, pulled, options in (
            ("v1", NOW, {}),
            ("v2", old, {"is_pull_assumed": True}),
            ("v3", None, {"is_immutable": True}),
            ("w", None, {}),
            (signature, None, {}),
        )
    ]
    states.append(TagState(tag=Tag("v4"), digest=digest, pushed_at=NOW))
    rules = (
        RetentionRule(tags=("v*",), keep_last=9),
        RetentionRule(tags=("v*",), pushed_within=timedelta(days=1)),
        RetentionRule(tags=("v*",), pulled_within=timedelta(days=1)),
        RetentionRule(tags=("v*",), pulled_within=timedelta(days=365)),
    )
    timeline = Timeline(now=NOW)
    kept = decide("a", states, rules, timeline)
    gone = decide(
        "a",
        states,
        (RetentionRule(keep_last=1), RetentionRule(tags=("v*",), keep_last=1)),
        timeline,
    )
    texts = {Reason.parse(reason).text for verdict in [*kept, *gone] for reason in verdict.reasons}
    assert texts == {
        "among the last",
        "pushed recently",
        "pushed recently, no later pull known",
        "pulled recently",
        "pull records do not reach back far enough",
        "immutable",
        "no rule matches",
        "not kept by any rule",
        "attached, kept",
    }
    assert Reason.parse(f"attached to {digest}, which is deleted") == Reason(text="attached, deleted", subject=digest)
    assert Reason.parse("rule 3: among the last 10") == Reason(text="among the last", rule=3, number=10)
