"""Contract tests of the authority in memory, and of the client of ACME servers with Pebble."""

from datetime import UTC, datetime

import pytest
from aiohttp import web

from adapters.certificates.acme import AcmeAuthority
from adapters.certificates.memory import InMemoryAuthority
from core.ports.certificate_authority import CertificateOrderError, ChallengeAnswer
from entrypoints.http.middleware.acme import Challenges, create_challenge_app
from tests.contracts.certificate_authority_contract import HOST, CertificateAuthorityContract
from tests.support.pebble import Pebble, name_server
from tests.support.ports import free_port
from tests.support.tools import is_installed


def now() -> datetime:
    return datetime.now(UTC)


class TestInMemoryAuthority(CertificateAuthorityContract):
    @pytest.fixture
    def answered(self):
        return []

    @pytest.fixture
    def authority(self, answered):
        async def check(answer):
            return answer in answered

        return InMemoryAuthority(now=now, check=check)


@pytest.fixture(scope="module")
def pebble(find_pebble, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pebble")
    with (
        name_server(folder) as names,
        Pebble(folder, names, tls_port=free_port(), http_port=free_port()) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def find_pebble(unavailable):
    if not (is_installed("pebble") and is_installed("pebble-challtestsrv")):
        unavailable("pebble is not installed; `make tools` gets it")


def acme_authority(pebble, **changes):
    options = {"email": "a@example.test", "ca": str(pebble.ca), "challenge": "http-01", "now": now, "agent": "test"}
    return AcmeAuthority(**({"directory_url": pebble.directory_url} | options | changes))


class TestAcmeAuthority(CertificateAuthorityContract):
    @pytest.fixture
    async def answered(self, pebble):
        """The answers that the address for http-01 gives."""
        answers: list[ChallengeAnswer] = []

        async def last():
            return answers[-1] if answers else None

        runner = web.AppRunner(create_challenge_app(Challenges(last), [HOST]))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", pebble.http_port).start()
        yield answers
        await runner.cleanup()

    @pytest.fixture
    def authority(self, pebble):
        return acme_authority(pebble)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"challenge": "none-01"}, "the server offers dns-01, .*http-01, .*tls-alpn-01.*, not none-01"),
            ({"ca": ""}, "CERTIFICATE_VERIFY_FAILED"),
            ({"ca": "/none"}, "/none"),
            ({"directory_url": "https://127.0.0.1:1/dir"}, "ConnectionError.*refused"),
            ({"email": "no address"}, "email|address|contact"),
        ],
    )
    async def test_failure_names_its_reason(self, pebble, publish, changes, reason):
        authority = acme_authority(pebble, **changes)
        with pytest.raises(CertificateOrderError, match=reason) as caught:
            await authority.order(HOST, await authority.new_account_key(), publish)
        assert "\n" not in str(caught.value)
