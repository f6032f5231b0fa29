"""Many push one immutable tag at once, to several processes and replicas on one folder: one wins, and stays."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

ROUNDS = 10
AT_ONCE = 8
IMAGES = [make_image(900 + number, layer_sizes=(10,)) for number in range(AT_ONCE)]
CONFIG = {"http": {"workers": 2}, "access": {"immutabletags": [{"repositories": ["prod/*"], "tags": ["v*"]}]}}


def test_one_of_many_concurrent_pushes_wins(tmp_path: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as threads:
        servers = [
            stack.enter_context(RegistryServer(tmp_path / name, tmp_path / "storage", config=CONFIG))
            for name in ("first", "second")
        ]
        clients = [RegistryClient(servers[number % 2].host) for number in range(AT_ONCE)]
        for client, image in zip(clients, IMAGES, strict=True):
            for blob in image.blobs:
                client.push_blob("prod/app", blob.data)

        def push(number: int, tag: str) -> int:
            manifest = IMAGES[number].manifest
            headers = {"Content-Type": manifest.media_type}
            target = f"/v2/prod/app/manifests/{tag}"
            return clients[number].request("PUT", target, body=manifest.data, headers=headers).status

        for round_number in range(ROUNDS):
            tag = f"v{round_number}"
            statuses = list(threads.map(push, range(AT_ONCE), [tag] * AT_ONCE))
            assert sorted(statuses) == [201] + [403] * (AT_ONCE - 1)
            winner = IMAGES[statuses.index(201)].digest
            for client in clients:
                assert client.get_manifest("prod/app", tag).digest == winner
                client.request("DELETE", f"/v2/prod/app/manifests/{tag}").expect(403)
                client.request("DELETE", f"/v2/prod/app/manifests/{winner}").expect(403)
