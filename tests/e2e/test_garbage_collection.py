"""Collection with real servers and clients: nothing is lost while it runs all the time, and old tools agree with it."""

from pathlib import Path

import pytest

from tests.support.collection_soak import COLLECTING, Soak
from tests.support.object_stores import ScsEndpoint
from tests.support.processes import RegistryServer

pytestmark = pytest.mark.e2e

SECONDS = 12.0
CLIENTS = 4


def assert_sound(soak: Soak, servers: list[RegistryServer]) -> None:
    report = soak.run(seconds=SECONDS, clients=CLIENTS)
    assert report.errors == []
    assert report.done["push"] > 5
    logs = "".join(server.log() for server in servers)
    assert "garbage collected" in logs
    assert "Traceback" not in logs


def test_clients_meet_no_error_on_a_folder(tmp_path: Path) -> None:
    """Two replicas, one of which collects."""
    storage = tmp_path / "storage"
    with (
        RegistryServer(tmp_path / "one", storage, environment=COLLECTING) as one,
        RegistryServer(tmp_path / "two", storage, environment=COLLECTING) as two,
    ):
        assert_sound(Soak([one.host, two.host], seed=1), [one, two])


def test_clients_meet_no_error_on_scs(tmp_path: Path) -> None:
    with ScsEndpoint(tmp_path / "scs") as scs:
        environment = {**scs.settings(redirects=False), **COLLECTING}
        with (
            RegistryServer(tmp_path / "one", tmp_path / "unused", environment=environment) as one,
            RegistryServer(tmp_path / "two", tmp_path / "unused", environment=environment) as two,
        ):
            assert_sound(Soak([one.host, two.host], seed=2), [one, two])
