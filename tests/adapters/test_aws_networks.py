"""The list of AWS's networks: loading, refreshing, and its limits."""

import asyncio
import json

import pytest
from aiohttp import web

from adapters.redirection import aws_networks
from adapters.redirection.aws_networks import AwsNetworks

LIST = {
    "syncToken": "1",
    "prefixes": [
        {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "AMAZON"},
        {"ip_prefix": "3.5.144.0/24", "region": "ap-northeast-2", "service": "S3"},
        {"ip_prefix": "3.5.140.0/23", "region": "ap-northeast-2", "service": "S3"},
        {"ip_prefix": "52.94.0.0/22", "region": "us-east-1", "service": "AMAZON"},
    ],
    "ipv6_prefixes": [{"ipv6_prefix": "2600:1f00::/24", "region": "US-EAST-1", "service": "AMAZON"}],
}


class Source:
    """A server of the list."""

    def __init__(self):
        self.answers: list[web.Response] = []
        self.url = ""

    async def handle(self, _request):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def source(aiohttp_server):
    source = Source()
    app = web.Application()
    app.router.add_get("/list.json", source.handle)
    server = await aiohttp_server(app)
    source.url = str(server.make_url("/list.json"))
    return source


def answer(document, status=200):
    return web.Response(status=status, text=document if isinstance(document, str) else json.dumps(document))


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a refresh sends no signal
            await asyncio.sleep(0.01)


async def test_addresses_of_the_list_are_found(source):
    source.answers = [answer(LIST)]
    async with AwsNetworks(source.url, every_seconds=3600) as networks:
        await until(lambda: networks.contain("3.5.140.0"))
        inside = ["3.5.143.255", "3.5.144.255:443", "52.94.3.1", "[2600:1f55::1]:5", "2600:1f00::", "::ffff:3.5.140.7"]
        outside = [
            "3.5.139.255",
            "3.5.145.0",
            "52.94.4.0",
            "1.1.1.1",
            "255.255.255.255",
            "2600:2000::",
            "",
            "unix",
            "a:b",
        ]
        assert [each for each in inside if not networks.contain(each)] == []
        assert [each for each in outside if networks.contain(each)] == []


async def test_only_the_given_regions_count(source):
    source.answers = [answer(LIST)]
    async with AwsNetworks(source.url, regions=["us-east-1"], every_seconds=3600) as networks:
        await until(lambda: networks.contain("52.94.0.1"))
        assert networks.contain("2600:1f00::1")
        assert not networks.contain("3.5.140.1")


async def test_new_list_replaces_the_old_one(source):
    source.answers = [answer(LIST), answer({"prefixes": [{"ip_prefix": "9.9.9.0/24", "region": "r"}]})]
    async with AwsNetworks(source.url, every_seconds=0.02) as networks:
        await until(lambda: networks.contain("9.9.9.9"))
        assert not networks.contain("3.5.140.1")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (answer("busy", status=503), "the answer has the status 503"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "the answer has the status 302"),
        (answer("<html>"), "the answer is not JSON"),
        (answer("[" * 100_000), "the answer is not JSON"),
        (answer([]), "the answer is not a JSON object"),
        (answer({"prefixes": {}}), "`prefixes` is not a list of at most 200000 networks"),
        (answer("x" * 200), "the answer has more than 150 bytes"),
    ],
    ids=["status", "redirect", "html", "nested", "list", "section", "large"],
)
async def test_failure_leaves_the_list_in_use(source, bad, reason, caplog, monkeypatch):
    if "150" in reason:
        monkeypatch.setattr(aws_networks, "LIST_BYTES_MAX", 150)
    good = {"prefixes": [{"ip_prefix": "9.9.9.0/24", "region": "r"}]}
    source.answers = [answer(good), bad]
    async with AwsNetworks(source.url, every_seconds=0.02) as networks:
        await until(lambda: reason in caplog.text)
        assert networks.contain("9.9.9.9")
    assert "the list loaded before stays in use" in caplog.text


async def test_no_client_is_in_aws_before_the_first_list(source, caplog):
    source.answers = [answer("no", status=500), answer(LIST)]
    async with AwsNetworks(source.url, every_seconds=3600, retry_seconds=0.02) as networks:
        assert not networks.contain("3.5.140.1")
        await until(lambda: networks.contain("3.5.140.1"))
    assert "until then no client counts as in AWS" in caplog.text


async def test_unreachable_source_is_tried_again(caplog, unused_tcp_port):
    async with AwsNetworks(f"http://127.0.0.1:{unused_tcp_port}/", every_seconds=0.02):
        await until(lambda: caplog.text.count("cannot be loaded: ClientConnectorError") > 1)


async def test_unusable_entries_are_left_out(source, caplog):
    entries = [*LIST["prefixes"], {"ip_prefix": "x", "region": "r"}, {"region": "r"}, 7]
    source.answers = [answer({"prefixes": entries})]
    async with AwsNetworks(source.url, every_seconds=3600) as networks:
        await until(lambda: networks.contain("3.5.140.1"))
    assert "3 entries of the list are not networks" in caplog.text
