"""Mirrors: what a run copies, and what is remembered of it."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.upstream.memory import InMemoryUpstream
from core.coordination.budget import Budget, Rates
from core.errors import ReadOnlyError, StorageUnavailableError, UpstreamAbsentError, UpstreamUnavailableError
from core.model import media_types
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.transfer import mirrors
from core.transfer.mirror_rules import Deletions, MirrorRules, TagRules
from core.transfer.mirrors import Mirror, MirrorService, MirrorState
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices

JOB = Actor("mirror")


@pytest.fixture
def services():
    return CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW))


class Mirrors:
    """One mirror of an upstream in memory, and the service that runs it."""

    def __init__(self, services, **rules):
        self.services = services
        self.upstream = InMemoryUpstream()
        self.slept = []
        self.minutes = 0
        self.mirror = Mirror(
            rules=MirrorRules(**{"name": "m", "repository": "a/app", "to": "mirror/app", **rules}),
            source_name="upstream.example",
            new_source=lambda: self.upstream,
            registry=services.registry(InMemoryCatalogIndex()),
            budget=Budget(Rates(), clock=lambda: 0.0, sleep=self.sleep),
        )
        self.service = MirrorService(
            services.storage,
            [self.mirror],
            now=self.now,
            sleep=self.sleep,
        )

    def now(self):
        self.minutes += 1
        return datetime(2026, 11, 29, tzinfo=UTC) + timedelta(minutes=self.minutes)

    async def sleep(self, seconds):
        self.slept.append(seconds)

    def add(self, name, *tags, layer=b"layer"):
        self.upstream.add_blob(name, b"{}")
        self.upstream.add_blob(name, layer)
        return self.upstream.add_manifest(name, image_manifest(b"{}", [layer]), media_types.OCI_MANIFEST, *tags)

    async def run(self, **options):
        return await self.service.run(self.mirror, by=JOB, **options)

    async def tags(self, name):
        return [str(tag) for tag in (await self.services.tags.page(RepositoryName(name), n=None, last="")).items]


async def test_a_run_copies_and_is_remembered(services):
    # Arrange
    mirrors = Mirrors(services, tags=TagRules(semver=">=2"))
    mirrors.add("a/app", "1.0.0", "2.0.0", "2.1.0")
    seen: list[object] = []
    before = await mirrors.service.state(mirrors.mirror)

    # Act
    done = await mirrors.run(observe=seen.append)

    # Assert
    assert before is None
    assert await mirrors.tags("mirror/app") == ["2.0.0", "2.1.0"]
    assert (done.tags_copied, done.manifests_copied, done.bytes_sent, done.repositories) == (2, 1, 7, 1)
    assert done.succeeded == done.ended == "2026-11-29T00:02:00+00:00"
    assert await mirrors.service.state(mirrors.mirror) == done
    assert seen


async def test_the_platforms_deletions_and_referrers_of_the_rules_hold(services):
    # Arrange
    mirrors = Mirrors(services, deletes=Deletions.FOLLOW)
    mirrors.add("a/app", "v1", "v2")
    await mirrors.run()
    mirrors.upstream.remove_tag("a/app", "v2")

    # Act
    done = await mirrors.run()

    # Assert
    assert done.deleted == 1
    assert await mirrors.tags("mirror/app") == ["v1"]


async def test_a_glob_copies_each_repository_to_its_own_name(services):
    # Arrange
    mirrors = Mirrors(services, repository="a/*", to="mirror")
    mirrors.add("a/app", "v1")
    mirrors.add("a/other", "v1")
    mirrors.add("b/app", "v1")

    # Act
    done = await mirrors.run()

    # Assert
    assert done.repositories == 2
    assert await mirrors.tags("mirror/app") == await mirrors.tags("mirror/other") == ["v1"]


async def test_a_name_that_is_invalid_here_is_a_problem(services):
    # Arrange
    mirrors = Mirrors(services, repository="a/**", to="mirror")
    mirrors.add("a/Upper", "v1")
    mirrors.add("a/app", "v1")
    reported: list[object] = []

    # Act
    done = await mirrors.run(report=reported.append)

    # Assert
    assert done.problems == 1
    assert done.listed_problems == ("mirror: a/Upper: invalid repository name",)
    assert not done.is_good
    assert not done.succeeded
    assert len(reported) == 1


async def test_a_glob_needs_a_registry_that_lists_its_repositories(services):
    # Arrange
    mirrors = Mirrors(services, repository="a/*", to="mirror")
    mirrors.upstream.has_catalog = False

    # Act and assert
    with pytest.raises(UpstreamAbsentError, match="write one mirror for each repository"):
        await mirrors.run()


async def test_a_failed_run_is_remembered_with_the_last_success(services):
    # Arrange
    mirrors = Mirrors(services)
    mirrors.add("a/app", "v1")
    good = await mirrors.run()
    mirrors.upstream.failure = UpstreamUnavailableError("upstream.example does not answer")

    # Act
    with pytest.raises(UpstreamUnavailableError):
        await mirrors.run()

    # Assert
    state = await mirrors.service.state(mirrors.mirror)
    assert state is not None
    assert state.error == "upstream.example does not answer"
    assert state.succeeded == good.ended
    assert state.ended > good.ended


async def test_few_problems_are_listed_and_all_are_counted(services, monkeypatch):
    # Arrange
    monkeypatch.setattr(mirrors, "_PROBLEMS_MAX", 1)
    run = Mirrors(services)
    for number in range(3):
        content = image_manifest(b"{}", [f"lost {number}".encode()])
        run.upstream.add_manifest("a/app", content, media_types.OCI_MANIFEST, f"v{number}")

    # Act
    done = await run.run()

    # Assert
    assert done.problems == 3
    assert len(done.listed_problems) == 1


async def test_a_dry_run_leaves_no_record(services):
    # Arrange
    run = Mirrors(services)
    run.add("a/app", "v1")

    # Act
    done = await run.run(is_dry=True)

    # Assert
    assert done.tags_copied == 1
    assert await run.service.state(run.mirror) is None
    assert await services.keys() == set()


async def test_a_recheck_copies_what_an_earlier_run_could_not(services):
    # Arrange
    run = Mirrors(services)
    run.add("a/app", "v1")
    run.add("a/app", "v2", layer=b"other")
    run.upstream.failure_of_blob = UpstreamAbsentError("killed")
    run.upstream.breaks_after = 1
    await run.run()

    # Act
    done = await run.run(rechecks=True)

    # Assert
    assert done.is_good
    assert await services.manifests.resolve(RepositoryName("mirror/app"), Tag("v1"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"began": "", "listed_problems": [], "unknown": 1}'])
async def test_a_record_of_another_version_is_ignored(services, content):
    # Arrange
    run = Mirrors(services)
    await services.storage.write(layout.job("mirror-m-state"), content)

    # Act and assert
    assert await run.service.state(run.mirror) is None
    assert MirrorState.parse(content) is None


async def test_a_run_ends_when_the_registry_becomes_read_only(services):
    # Arrange
    run = Mirrors(services)
    run.add("a/app", "v1")
    run.add("a/app", "v2", layer=b"other")
    checks: list[None] = []

    async def require_writable():
        checks.append(None)
        if len(checks) > 3:
            raise ReadOnlyError("moving")

    # Act
    with pytest.raises(StorageUnavailableError, match="the registry is read-only: moving"):
        await run.run(require_writable=require_writable)
    done = await run.run()

    # Assert
    assert done.is_good
    assert await run.tags("mirror/app") == ["v1", "v2"]
