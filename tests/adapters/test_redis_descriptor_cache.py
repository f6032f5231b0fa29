"""Behaviour of Redis alone: keys that distribution reads, proofs, a server that is down, slow or odd."""

import asyncio
import logging
import random
from dataclasses import replace

import pytest

from adapters.descriptor_cache import redis as module
from adapters.descriptor_cache.breaker import FAILURES_MAX, PAUSE_SECONDS, CircuitBreaker
from adapters.descriptor_cache.redis import TIME_TO_LIVE_SECONDS, RedisDescriptorCache
from adapters.descriptor_cache.redis_options import RedisOptions, RedisTlsOptions
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.model.secret import Secret
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer
from tests.support.simulated_time import SimulatedTime
from tests.support.sockets import only_these_are_open, open_sockets

pytestmark = pytest.mark.e2e

NAME, OTHER = RepositoryName("team/app"), RepositoryName("other")
DIGEST = Digest.of(b"x")


def patient_cache(options, **others):
    """Return a cache for tests whose Redis answers: on a busy machine that may take longer than it pays off."""
    return RedisDescriptorCache(replace(options, operation_seconds=30.0), **others)


@pytest.fixture(scope="module")
def running(tool):
    with RedisServer(tool("redis-server")) as server:
        yield server


@pytest.fixture
def server(running):
    with running.client() as client:
        client.flushall()
    return running


@pytest.fixture
def clock():
    return SimulatedTime()


def options_for(server, **changes):
    return RedisOptions(addrs=(f"127.0.0.1:{server.port}",), **{"retries_max": 0} | changes)


@pytest.fixture
async def cache(server, clock):
    async with patient_cache(options_for(server), clock=clock.clock) as cache:
        yield cache


def write_as_distribution(client, name, digest, size, media_type="application/octet-stream"):
    """The commands of 2.8 and 3, in their order."""
    client.sadd(f"repository::{name}::blobs", digest)
    client.hset(f"blobs::{digest}", mapping={"digest": digest, "size": size})
    client.hsetnx(f"blobs::{digest}", "mediatype", media_type)
    client.hset(f"repository::{name}::blobs::{digest}", "mediatype", media_type)


async def test_keys_equal_those_of_distribution(server, cache):
    await cache.put(NAME, DIGEST, 5)
    with server.client() as client:
        assert set(client.keys()) == {
            "repository::team/app::blobs",
            f"repository::team/app::blobs::{DIGEST}",
            f"blobs::{DIGEST}",
        }
        assert client.smembers("repository::team/app::blobs") == {str(DIGEST)}
        everywhere = client.hgetall(f"blobs::{DIGEST}")
        proof = everywhere.pop("proof")
        assert everywhere == {"digest": str(DIGEST), "size": "5", "mediatype": "application/octet-stream"}
        here = client.hgetall(f"repository::team/app::blobs::{DIGEST}")
        assert here == {"mediatype": "application/octet-stream", "proof": proof}
        assert 0 < client.ttl(f"blobs::{DIGEST}") <= TIME_TO_LIVE_SECONDS
        assert 0 < client.ttl(f"repository::team/app::blobs::{DIGEST}") <= TIME_TO_LIVE_SECONDS
        assert client.ttl("repository::team/app::blobs") == -1


async def test_entries_of_distribution_are_used(server, cache):
    with server.client() as client:
        write_as_distribution(client, NAME, DIGEST, 7)
    assert await cache.get(NAME, DIGEST) == 7
    assert await cache.get(OTHER, DIGEST) is None
    await cache.forget(NAME, DIGEST)
    assert await cache.get(NAME, DIGEST) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda client: client.srem(f"repository::{NAME}::blobs", DIGEST),
        lambda client: client.delete(f"repository::{NAME}::blobs::{DIGEST}"),
        lambda client: client.delete(f"blobs::{DIGEST}"),
        lambda client: client.hdel(f"blobs::{DIGEST}", "digest", "size", "mediatype"),
        lambda client: client.hset(f"blobs::{DIGEST}", "digest", Digest.of(b"y")),
        lambda client: client.hset(f"blobs::{DIGEST}", "size", "-1"),
        lambda client: client.hset(f"blobs::{DIGEST}", "size", "many"),
        lambda client: client.hset(f"blobs::{DIGEST}", "proof", "another"),
    ],
    ids=["member", "here", "everywhere", "fields", "alias", "negative", "text", "proof"],
)
async def test_partial_entry_is_a_miss(server, cache, spoil):
    await cache.put(NAME, DIGEST, 5)
    with server.client() as client:
        spoil(client)
    assert await cache.get(NAME, DIGEST) is None


async def test_blob_added_to_one_repository_is_not_in_another(cache):
    """Both repositories held it; collection took it; one of them got it again."""
    await cache.put(NAME, DIGEST, 5)
    await cache.put(OTHER, DIGEST, 5)
    await cache.forget_everywhere(DIGEST)
    await cache.put(NAME, DIGEST, 5)
    assert await cache.get(NAME, DIGEST) == 5
    assert await cache.get(OTHER, DIGEST) is None


@pytest.mark.parametrize("version", [2, 3])
async def test_blob_forgotten_by_distribution_stays_a_miss(server, cache, version):
    """It deletes the blob from one repository, and another one gets it once more."""
    await cache.put(NAME, DIGEST, 5)
    await cache.put(OTHER, DIGEST, 5)
    with server.client() as client:
        if version == 3:
            client.srem(f"repository::{NAME}::blobs", DIGEST)
            client.delete(f"repository::{NAME}::blobs::{DIGEST}")
        client.hdel(f"blobs::{DIGEST}", "digest", "size", "mediatype")
    assert await cache.get(NAME, DIGEST) is None
    await cache.put(OTHER, DIGEST, 5)
    assert await cache.get(OTHER, DIGEST) == 5
    assert await cache.get(NAME, DIGEST) is None


@pytest.mark.parametrize("seed", range(6))
async def test_two_processes_agree_with_a_model(server, clock, seed):
    """With any puts and deletions, each returned size was put in the repository and not forgotten since."""
    chance = random.Random(seed)
    names, digests = [NAME, OTHER, RepositoryName("third")], [Digest.of(bytes([number])) for number in range(3)]
    model: dict[tuple[RepositoryName, Digest], int] = {}
    caches = [patient_cache(options_for(server), clock=clock.clock) for _ in range(2)]
    async with caches[0], caches[1]:
        for _ in range(120):
            one, name, digest = chance.choice(caches), chance.choice(names), chance.choice(digests)
            match chance.choice(["put", "put", "get", "get", "forget", "everywhere"]):
                case "put":
                    model[name, digest] = digests.index(digest)
                    await one.put(name, digest, digests.index(digest))
                case "forget":
                    model.pop((name, digest), None)
                    await one.forget(name, digest)
                case "everywhere":
                    model = {key: size for key, size in model.items() if key[1] != digest}
                    await one.forget_everywhere(digest)
                    await one.get(name, digest)
                case _:
                    assert await one.get(name, digest) == model.get((name, digest)), f"seed {seed}"


async def test_collection_forgets_blobs_in_few_requests(server, cache):
    digests = [Digest.of(str(number).encode()) for number in range(2_500)]
    await cache.put(NAME, digests[0], 5)
    with server.client() as client:
        before = client.info("commandstats").get("cmdstat_exec", {}).get("calls", 0)
        for digest in digests:
            await cache.forget_everywhere(digest)

        def calls():
            return client.info("commandstats").get("cmdstat_exec", {}).get("calls", 0) - before

        async with asyncio.timeout(60):
            while calls() < 3:  # noqa: ASYNC110 - redis announces nothing
                await asyncio.sleep(0.05)
        # No request follows the three.
        await asyncio.sleep(0.3)
        assert calls() == 3
        assert not client.exists(f"blobs::{digests[0]}")


async def test_size_stored_after_forgetting_is_kept(cache):
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(cache.forget_everywhere(DIGEST))
            group.create_task(cache.forget(NAME, DIGEST))
    await cache.put(NAME, DIGEST, 5)
    await asyncio.sleep(0.1)
    assert await cache.get(NAME, DIGEST) == 5


class HeldUp(RedisDescriptorCache):
    """Keeps back the first commands until it is released."""

    released: asyncio.Event | None = None

    async def _execute(self, commands, **options):
        if self.released is None:
            self.released = asyncio.Event()
            await self.released.wait()
        return await super()._execute(commands, **options)


async def test_late_command_to_forget_removes_nothing_newer(server, clock):
    async with HeldUp(options_for(server, operation_seconds=30.0), clock=clock.clock) as cache:
        async with asyncio.TaskGroup() as group:
            group.create_task(cache.forget(NAME, DIGEST))
            await asyncio.sleep(0)
            put = group.create_task(cache.put(NAME, DIGEST, 5))
            await asyncio.wait([put], timeout=0.3)
            assert cache.released is not None
            cache.released.set()
        assert await cache.get(NAME, DIGEST) == 5


async def test_key_of_another_kind_is_a_miss(server, cache):
    with server.client() as client:
        client.set(f"blobs::{DIGEST}", "a text")
    assert await cache.get(NAME, DIGEST) is None
    await cache.put(NAME, DIGEST, 5)
    assert await cache.get(NAME, DIGEST) is None


async def test_redis_can_be_killed_and_restarted(tool, clock, caplog):
    errors = []
    with RedisServer(tool("redis-server")) as server:
        cache = patient_cache(options_for(server), clock=clock.clock, on_error=lambda: errors.append(1))
        async with cache:
            await cache.put(NAME, DIGEST, 5)
            server.kill()
            for _ in range(10):
                assert await cache.get(NAME, DIGEST) is None
                await cache.put(NAME, DIGEST, 5)
            # From the third on nothing is asked.
            assert len(errors) == FAILURES_MAX
            assert caplog.text.count("redis unavailable") == 1
            server.start()
            assert await cache.get(NAME, DIGEST) is None
            await clock.advance(PAUSE_SECONDS)
            await cache.put(NAME, DIGEST, 6)
            assert await cache.get(NAME, DIGEST) == 6
            assert len(errors) == FAILURES_MAX


async def test_redis_that_hangs_costs_little(tool, clock):
    errors = []
    with RedisServer(tool("redis-server")) as server:
        async with (
            patient_cache(options_for(server), clock=clock.clock) as patient,
            RedisDescriptorCache(options_for(server), clock=clock.clock, on_error=lambda: errors.append(1)) as cache,
        ):
            await patient.put(NAME, DIGEST, 5)
            server.hang()
            for _ in range(50):
                assert await cache.get(NAME, DIGEST) is None
            # Each of these waited for a moment, and the others not at all.
            assert len(errors) == FAILURES_MAX
            server.wake()
            assert await patient.get(NAME, DIGEST) == 5
            await clock.advance(PAUSE_SECONDS)
            async with asyncio.timeout(60):
                while await cache.get(NAME, DIGEST) is None:
                    await clock.advance(PAUSE_SECONDS)


async def test_answers_do_not_get_mixed_up_after_a_hang(tool, clock):
    """Late answers of a hung server are dropped."""
    digests = [Digest.of(str(number).encode()) for number in range(40)]
    with RedisServer(tool("redis-server")) as server:
        async with RedisDescriptorCache(options_for(server), clock=clock.clock) as cache:
            for size, digest in enumerate(digests):
                await cache.put(NAME, digest, size)
            for _ in range(3):
                server.hang()
                async with asyncio.TaskGroup() as group:
                    for digest in digests:
                        group.create_task(cache.get(NAME, digest))
                server.wake()
                await clock.advance(PAUSE_SECONDS)
                for size, digest in enumerate(digests):
                    assert await cache.get(NAME, digest) in {size, None}
            assert await cache.get(NAME, digests[7]) == 7


async def test_entry_that_could_not_be_forgotten_is_a_miss_later(tool, clock):
    other = Digest.of(b"other")
    with RedisServer(tool("redis-server")) as server:
        async with RedisDescriptorCache(options_for(server), clock=clock.clock) as cache:
            await cache.put(NAME, DIGEST, 5)
            await cache.put(NAME, other, 6)
            await cache.put(OTHER, other, 6)
            server.hang()
            await cache.forget(NAME, DIGEST)
            await cache.forget_everywhere(other)
            server.wake()
            await clock.advance(PAUSE_SECONDS)
            assert await cache.get(NAME, DIGEST) is None
            assert await cache.get(NAME, other) is None
            assert await cache.get(OTHER, other) is None
        with server.client() as client:
            assert client.keys(f"repository::*{DIGEST}") == []
            assert not client.exists(f"blobs::{other}")


async def test_too_many_pending_deletions_make_all_entries_misses(server, clock, monkeypatch):
    monkeypatch.setattr(module, "_PENDING_MAX", 3)
    async with patient_cache(options_for(server), clock=clock.clock) as cache:
        await cache.put(NAME, DIGEST, 5)
        monkeypatch.setattr(CircuitBreaker, "allows", lambda _breaker: False)
        for number in range(4):
            await cache.forget(NAME, Digest.of(str(number).encode()))
        monkeypatch.undo()
        assert await cache.get(NAME, DIGEST) is None
        await clock.advance(TIME_TO_LIVE_SECONDS)
        assert await cache.get(NAME, DIGEST) == 5


async def test_closed_cache_misses(server, clock):
    cache = patient_cache(options_for(server), clock=clock.clock)
    await cache.put(NAME, DIGEST, 5)
    assert await cache.get(NAME, DIGEST) is None


async def test_wrong_password_is_a_miss_and_never_logged(tool, clock, caplog):
    caplog.set_level(logging.DEBUG)
    with RedisServer(tool("redis-server"), "--requirepass", "right-password") as server:
        wrong = patient_cache(options_for(server, password=Secret("hunter2")), clock=clock.clock)
        async with wrong:
            await wrong.put(NAME, DIGEST, 5)
            assert await wrong.get(NAME, DIGEST) is None
        right = patient_cache(options_for(server, password=Secret("right-password"), db=3), clock=clock.clock)
        async with right:
            await right.put(NAME, DIGEST, 5)
            assert await right.get(NAME, DIGEST) == 5
        with server.client(password="right-password", db=3) as client:
            assert client.exists(f"blobs::{DIGEST}")
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(wrong.options)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_are_supported(server, clock, protocol):
    options = options_for(server, protocol=protocol, client_name="registry-1", retries_max=2, connections_max=2)
    async with patient_cache(options, clock=clock.clock) as cache:
        await cache.put(NAME, DIGEST, 5)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(cache.get(NAME, DIGEST)) for _ in range(50)]
        assert [task.result() for task in asked] == [5] * 50
        with server.client() as client:
            named = [each for each in client.client_list() if each["name"] == "registry-1"]
            assert 1 <= len(named) <= 2


async def test_sentinels_provide_the_master(tool, clock):
    """A name that they do not know is a miss."""
    program = tool("redis-server")
    with (
        RedisServer(program) as master,
        RedisServer(program, sentinel=f"sentinel monitor images 127.0.0.1 {master.port} 1\n") as sentinel,
    ):
        known = options_for(sentinel, master_name="images")
        async with patient_cache(known, clock=clock.clock) as cache:
            await cache.put(NAME, DIGEST, 5)
            assert await cache.get(NAME, DIGEST) == 5
        with master.client() as client:
            assert client.exists(f"blobs::{DIGEST}")
        unknown = options_for(sentinel, master_name="others")
        async with patient_cache(unknown, clock=clock.clock) as cache:
            await cache.put(NAME, DIGEST, 5)
            assert await cache.get(NAME, DIGEST) is None


async def test_tls_is_checked_both_ways(tool, clock, tmp_path):
    authority = Authority(tmp_path)
    pair, strange = authority.issue("server"), Authority(tmp_path, "strange")
    words = ["--tls-cert-file", pair.certificate, "--tls-key-file", pair.key, "--tls-ca-cert-file", authority.path]
    client = authority.issue("client")
    trusted = RedisTlsOptions(certificate=str(client.certificate), key=str(client.key), root_cas=(str(authority.path),))
    untrusted = replace(trusted, root_cas=(str(strange.path),))
    nameless = replace(trusted, certificate=None, key=None)
    with RedisServer(tool("redis-server"), *map(str, words), plain=False) as server:
        for tls, known in ((trusted, 5), (untrusted, None), (nameless, None)):
            async with patient_cache(options_for(server, tls=tls), clock=clock.clock) as cache:
                await cache.put(NAME, DIGEST, 5)
                assert await cache.get(NAME, DIGEST) == known


async def test_redis_that_hangs_over_tls_holds_up_no_stop(tool, clock, tmp_path, caplog):
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    words = ["--tls-cert-file", pair.certificate, "--tls-key-file", pair.key, "--tls-ca-cert-file", authority.path]
    tls = RedisTlsOptions(root_cas=(str(authority.path),))
    with RedisServer(tool("redis-server"), *map(str, words), "--tls-auth-clients", "no", plain=False) as server:
        sockets = open_sockets()
        options = options_for(server, tls=tls, operation_seconds=1.0, dial_timeout_seconds=60.0)
        async with RedisDescriptorCache(options, clock=clock.clock) as cache:
            async with asyncio.timeout(60):
                while await cache.get(NAME, DIGEST) is None:
                    await cache.put(NAME, DIGEST, 5)
                    await clock.advance(PAUSE_SECONDS)
            server.hang()
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 30
        assert "redis did not end its connections: TimeoutError" in caplog.text
        server.wake()
        await only_these_are_open(sockets)


def test_open_breaker_allows_one_attempt():
    time = SimulatedTime()
    breaker = CircuitBreaker(time.clock)
    for _ in range(FAILURES_MAX):
        assert breaker.allows()
        breaker.fail()
    assert breaker.is_open
    assert not breaker.allows()
    time.pass_seconds(PAUSE_SECONDS)
    assert breaker.allows()
    assert not breaker.allows()
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.allows()
