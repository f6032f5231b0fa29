"""A server with static keys and an endpoint of an object store imports botocore in none of its processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.object_stores import BUCKET, ScsEndpoint
from tests.support.oci import make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import moto_endpoint
from tests.support.tools import REPOSITORY_ROOT

MIB = 1024 * 1024
SDK = ("aioboto3", "aiobotocore", "boto3", "botocore", "jmespath", "s3transfer")
WATCHED = """
import os, sys
log, sdk = sys.argv.pop(1), set(sys.argv.pop(1).split(","))

def watch(event, arguments):
    if event == "import" and arguments[0].partition(".")[0] in sdk:
        with open(log, "a") as lines:
            print(os.getpid(), arguments[0], file=lines)

# The processes that this one forks inherit it.
sys.addaudithook(watch)
from entrypoints.cli import main

sys.exit(main(sys.argv[1:]))
"""
"""The command line, with a record of each import of the SDK."""


def watched(imports: Path) -> tuple[str, ...]:
    imports.touch()
    return (sys.executable, "-c", WATCHED, str(imports), ",".join(SDK))


def storage(**driver: Mapping[str, object]) -> dict[str, str]:
    section = {**driver, "redirect": {"disable": False}, "delete": {"enabled": True}, "trash": {"keep": "0s"}}
    return {"REGISTRY_STORAGE": json.dumps(section), "REGISTRY_HTTP_WORKERS": "2"}


def s3(url: str, **changes: object) -> dict[str, str]:
    small_parts = {"chunksize": 5 * MIB, "multipartcopychunksize": 5 * MIB, "multipartcopythresholdsize": 5 * MIB}
    keys = {"accesskey": "key", "secretkey": "secret", "regionendpoint": url, "bucket": BUCKET}
    return storage(s3={**keys, **small_parts, "partsinflight": 1, **changes})


def scs(url: str) -> dict[str, str]:
    keys = {"accesskey": "key", "secretkey": "secret", "region": "bjcnc", "bucket": BUCKET, "endpoint": url}
    return storage(scs={**keys, "chunksize": 5 * MIB, "partsinflight": 1})


@pytest.fixture(params=[s3, scs])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    settings: Callable[[str], dict[str, str]] = request.param
    if settings is s3:
        with moto_endpoint(BUCKET) as url:
            yield settings(url)
    else:
        with ScsEndpoint(tmp_path / "scs") as endpoint:
            yield settings(endpoint.url)


def test_no_process_of_a_server_imports_the_sdk(environment: Mapping[str, str], tmp_path: Path) -> None:
    imports = tmp_path / "imports"
    program = watched(imports)
    server = RegistryServer(tmp_path / "a", tmp_path / "b", command=(*program, "serve"), environment=environment)
    image = make_image(1, layer_sizes=(12 * MIB, 100))
    with server:
        client = RegistryClient(f"127.0.0.1:{server.port}")
        client.push("team/app", "v1", image)
        for blob in image.blobs:
            assert client.get_blob("team/app", blob.digest) == blob.data
        client.request("DELETE", f"/v2/team/app/manifests/{image.digest}").expect(202)
    done = subprocess.run(
        [*program, "garbage-collect", "--offline", "--json", str(server.config_path)],
        env={**os.environ, **environment},
        cwd=REPOSITORY_ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["blobs_removed"] > 0
    assert imports.read_text() == ""


def test_server_imports_the_sdk_for_credentials_that_it_finds(tmp_path: Path) -> None:
    """So the test above can fail."""
    imports = tmp_path / "imports"
    with moto_endpoint(BUCKET) as url:
        found = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        environment = {**s3(url, accesskey="", secretkey=""), **found}
        with RegistryServer(
            tmp_path / "a", tmp_path / "b", command=(*watched(imports), "serve"), environment=environment
        ):
            names = {line.split()[1].partition(".")[0] for line in imports.read_text().splitlines()}
    assert {"aioboto3", "aiobotocore", "botocore"} <= names
