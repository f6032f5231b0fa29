"""Real clients over TLS that send the token of a workload as the password of any user name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.clients import CommandError, CommandLineClient
from tests.support.htpasswd import write_htpasswd
from tests.support.identity_provider import IdentityProvider
from tests.support.oci import make_image, write_layout
from tests.support.tls_clients import TLS_CLIENTS, log_in, trust
from tests.support.tls_servers import TlsRegistryServer

pytestmark = pytest.mark.e2e

IMAGE = make_image(81, layer_sizes=(10_000,))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[IdentityProvider]:
    with IdentityProvider(tls=authority.issue("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    authority: Authority, provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsRegistryServer]:
    folder = tmp_path_factory.mktemp("server")
    workloads = {
        "issuer": provider.url,
        "audiences": ["registry.example"],
        "ca": str(authority.path),
        "when": {"repository": "corp/*"},
        "user": "gha:{repository}",
        "groups": ["ci"],
    }
    config = {
        "auth": {
            "htpasswd": {"realm": "r", "path": str(write_htpasswd(folder / "htpasswd", alice="secret"))},
            "workloads": [workloads],
        },
        "access": {
            "rules": [
                {"who": ["@ci"], "repositories": ["corp/**"], "actions": ["pull"]},
                {"who": ["gha:corp/app"], "repositories": ["corp/app"], "actions": ["pull", "push"]},
            ]
        },
        "http": {"workers": 2},
    }
    with TlsRegistryServer(folder, folder / "storage", authority.issue("server"), config=config) as running:
        yield running


@pytest.fixture
def new_client(
    server: TlsRegistryServer, authority: Authority, tmp_path: Path, tool: Callable[[str], str]
) -> Callable[[type[CommandLineClient], str], CommandLineClient]:
    """Makes clients that trust the registry's certificate."""

    def make(kind: type[CommandLineClient], name: str) -> CommandLineClient:
        tool(kind.program)
        return trust(kind(tmp_path / name, f"localhost:{server.port}"), authority)

    return make


@pytest.mark.parametrize("kind", TLS_CLIENTS, ids=lambda kind: kind.program)
def test_client_logs_in_with_the_token_of_a_workload(
    kind: type[CommandLineClient],
    provider: IdentityProvider,
    new_client: Callable[[type[CommandLineClient], str], CommandLineClient],
    tmp_path: Path,
) -> None:
    layout = write_layout(tmp_path / "layout", IMAGE, "v1")
    pusher, puller = new_client(kind, "pusher"), new_client(kind, "puller")
    log_in(pusher, "oauth2accesstoken", provider.token())
    pusher.push(layout, "v1", f"corp/app:{kind.program}")
    with pytest.raises(CommandError):
        pusher.push(layout, "v1", f"corp/other:{kind.program}")
    log_in(puller, "k8s", provider.token(repository="corp/other"))
    assert puller.pull(f"corp/app:{kind.program}") == IMAGE.blobs[0].digest
