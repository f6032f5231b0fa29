"""Detection of abandoned uploads, and its number of requests."""

from datetime import datetime, timedelta

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.budget import Budget, Rates
from core.errors import UploadUnknownError
from core.model.names import RepositoryName
from core.registry.abandoned_uploads import remove_abandoned, session_of
from core.store import layout
from tests.support.core_services import NOW, CoreServices
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("a/b")
ID = "0c8a3f2e-1111-4222-8333-944445555666"
AGE = timedelta(hours=168)


class LeakyBlobStorage(InMemoryBlobStorage):
    """Keeps multipart uploads that no listing shows, as object stores do."""

    unfinished: dict[str, datetime]

    @override
    async def drop_unfinished(self, prefix, *, before, is_spared, dry_run=False):
        dropped = [key for key, begun_at in self.unfinished.items() if begun_at < before and not is_spared(key)]
        if not dry_run:
            self.unfinished = {key: at for key, at in self.unfinished.items() if key not in dropped}
        return dropped


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def services(clock):
    storage = LeakyBlobStorage(now=lambda: clock[0])
    storage.unfinished = {}
    return CoreServices(storage=storage)


def unlimited():
    time = SimulatedTime()
    return Budget(Rates(), clock=time.clock, sleep=time.sleep)


def purge(services, clock, *, dry_run=False):
    return remove_abandoned(services.storage, before=clock[0] - AGE, budget=unlimited(), dry_run=dry_run)


async def test_abandoned_sessions_are_removed_and_active_ones_stay(services, clock):
    abandoned, fed = await services.uploads.start(NAME), await services.uploads.start(NAME)
    other = await services.uploads.start(RepositoryName("c"))
    image = await services.push_blob(NAME, b"kept")
    clock[0] += AGE + timedelta(seconds=1)
    await services.storage.write(f"{layout.upload(NAME, fed.upload_id)}/hashstates", b"")
    expected = [layout.upload(NAME, abandoned.upload_id), layout.upload(RepositoryName("c"), other.upload_id)]

    assert (await purge(services, clock, dry_run=True)).sessions == expected
    assert await services.uploads.status(NAME, abandoned.upload_id)
    assert (await purge(services, clock)).sessions == expected
    assert (await purge(services, clock)).sessions == []
    with pytest.raises(UploadUnknownError):
        await services.uploads.status(NAME, abandoned.upload_id)
    assert await services.uploads.status(NAME, fed.upload_id)
    assert await services.read_blob(NAME, image) == b"kept"


async def test_session_of_exactly_the_age_stays(services, clock):
    state = await services.uploads.start(NAME)
    clock[0] += AGE
    assert (await purge(services, clock)).sessions == []
    clock[0] += timedelta(microseconds=1)
    assert (await purge(services, clock)).sessions == [layout.upload(NAME, state.upload_id)]


async def test_key_that_is_no_session_stays(services, clock):
    foreign = {
        f"{layout.REPOSITORIES}/NOT-OURS/_uploads/{ID}/data",
        f"{layout.REPOSITORIES}/a/_uploads/notes/data",
        f"{layout.REPOSITORIES}/a/_uploads/{ID.upper()}/data",
        f"{layout.REPOSITORIES}/a/_uploads/readme",
        f"{layout.REPOSITORIES}/a/_layers/_uploads/{ID}/data",
        f"{layout.ROOT}/_uploads/{ID}/data",
    }
    for key in foreign:
        await services.storage.write(key, b"")
    clock[0] += AGE * 2
    assert (await purge(services, clock)).sessions == []
    assert await services.keys() == foreign


async def test_session_without_startedat_is_removed(services, clock):
    """Distribution keeps it for ever; it holds the bytes of a push that was killed."""
    await services.storage.write(layout.upload_data(NAME, ID), b"bytes")
    clock[0] += AGE * 2
    assert (await purge(services, clock)).sessions == [layout.upload(NAME, ID)]
    assert await services.keys() == set()


async def test_unfinished_writes_without_a_session_are_dropped(services, clock):
    lost, blob = layout.upload_data(NAME, ID), layout.blob_directory(await services.push_blob(NAME, b"x"))
    services.storage.unfinished = {lost: clock[0], f"{blob}/data": clock[0]}
    clock[0] += AGE * 2
    fed = layout.upload_data(NAME, (await services.uploads.start(NAME)).upload_id)
    services.storage.unfinished |= {fed: clock[0] - AGE * 2, layout.upload_data(NAME, ID[::-1]): clock[0]}

    assert sorted((await purge(services, clock, dry_run=True)).unfinished) == sorted([lost, f"{blob}/data"])
    assert len(services.storage.unfinished) == 4
    assert sorted((await purge(services, clock)).unfinished) == sorted([lost, f"{blob}/data"])
    assert set(services.storage.unfinished) == {fed, layout.upload_data(NAME, ID[::-1])}


async def test_many_sessions_are_removed_in_few_calls(services, clock):
    for _ in range(250):
        await services.uploads.start(NAME)
    clock[0] += AGE * 2
    calls = []
    remove = services.storage.delete_tree

    async def count(*prefixes):
        calls.append(len(prefixes))
        await remove(*prefixes)

    services.storage.delete_tree = count
    assert len((await purge(services, clock)).sessions) == 250
    assert calls == [100, 100, 50]
    assert await services.keys() == set()


async def test_budget_is_kept(services, clock):
    for _ in range(40):
        await services.uploads.start(NAME)
    clock[0] += AGE * 2
    time = SimulatedTime()
    waits = []

    async def wait(seconds):
        waits.append(seconds)

    budget = Budget(Rates(requests_per_second=20), clock=time.clock, sleep=wait)
    await remove_abandoned(services.storage, before=clock[0] - AGE, budget=budget)
    # 122 requests, of which the bucket held 20.
    assert sum(waits[-1:]) == pytest.approx(102 / 20)


async def test_large_sessions_cost_only_their_listing(services, clock):
    """Distribution keeps a state of the hash for every piece: an upload of many pieces has many objects."""
    for number in range(2_500):
        await services.storage.write(f"{layout.upload(NAME, ID)}/hashstates/sha256/{number}", b"")
    clock[0] += AGE * 2
    takes = []

    class CountingBudget(Budget):
        @override
        async def take(self, *, requests=1, size=0):
            takes.append(requests)

    time = SimulatedTime()
    budget = CountingBudget(Rates(), clock=time.clock, sleep=time.sleep)
    purged = await remove_abandoned(services.storage, before=clock[0] - AGE, budget=budget)
    assert purged.sessions == [layout.upload(NAME, ID)]
    # Three pages, the removal of one session, and the look for what no listing shows.
    assert takes == [1, 1, 1, 3, 1]
    assert await services.keys() == set()


@pytest.mark.parametrize(
    ("key", "session"),
    [
        (layout.upload_data(NAME, ID), layout.upload(NAME, ID)),
        (f"{layout.upload(NAME, ID)}/hashstates/sha256/0", layout.upload(NAME, ID)),
        (layout.upload(NAME, ID), layout.upload(NAME, ID)),
        (f"{layout.ROOT}/blobs/sha256/aa/data", None),
        (f"{layout.REPOSITORIES}/a/_uploads/x/data", None),
        (f"{layout.REPOSITORIES}/A/_uploads/{ID}/data", None),
    ],
)
def test_session_is_parsed_from_a_key(key, session):
    assert session_of(key) == session
