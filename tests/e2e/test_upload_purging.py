"""Abandoned uploads on a folder that two servers share: one server purges at a time, and the other takes over."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.caches import until
from tests.support.oci import digest_of
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

INTERVAL_SECONDS = 2.0
PURGING = {"enabled": True, "age": "3s", "interval": f"{INTERVAL_SECONDS}s", "dryrun": False}
CONFIG = {"storage": {"maintenance": {"uploadpurging": PURGING}}, "http": {"workers": 2}}


def lines(server: RegistryServer, text: str) -> list[str]:
    return [line for line in server.log().splitlines() if text in line]


def removals(server: RegistryServer, session: Path) -> list[str]:
    return [line for line in lines(server, "abandoned upload") if session.name in line]


def wait_until_removed(session: Path, *servers: RegistryServer) -> None:
    """Wait until the folder is gone and a server has logged the removal, which it does a moment later."""
    deadline = time.monotonic() + 60
    while session.exists() or not any(removals(server, session) for server in servers):
        assert time.monotonic() < deadline, f"{session} exists: {session.exists()}"
        time.sleep(0.1)


def times_of_looks(*servers: RegistryServer) -> list[datetime]:
    found = [line for server in servers for line in lines(server, "search for abandoned uploads finished")]
    stamps = [line.partition("time=")[2].partition(" ")[0].strip('"') for line in found]
    return sorted(datetime.fromisoformat(stamp) for stamp in stamps)


def test_one_of_two_replicas_removes_what_was_abandoned(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with (
        RegistryServer(tmp_path / "one", storage, config=CONFIG) as one,
        RegistryServer(tmp_path / "two", storage, config=CONFIG) as two,
    ):
        client = RegistryClient(one.host)
        abandoned = client.start_upload("a/image").header("Location")
        client.append(abandoned, b"never finished").expect(202)
        sessions = storage / "docker/registry/v2/repositories/a/image/_uploads"
        (session,) = sessions.iterdir()

        fed = RegistryClient(two.host).start_upload("b/image").header("Location")
        content = b""
        for _ in range(10):
            fed = RegistryClient(two.host).append(fed, b"piece").expect(202).header("Location")
            content += b"piece"
            time.sleep(0.5)
        client.finish_upload(fed, digest_of(content)).expect(201)
        wait_until_removed(session, one, two)

        assert len(removals(one, session) + removals(two, session)) == 1
        client.request("GET", abandoned).expect(404)
        until(lambda: len(times_of_looks(one, two)) >= 5, every=0.2)
        looks = times_of_looks(one, two)
        # A process alone would look so often, and there are four. The time of a look is that of its end in a log.
        assert len(looks) - 2 <= (looks[-1] - looks[0]).total_seconds() / INTERVAL_SECONDS

        one.kill()
        RegistryClient(two.host).start_upload("a/image")
        (session,) = sessions.iterdir()
        wait_until_removed(session, two)
