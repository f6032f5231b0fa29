"""Trust in the headers of proxies about the origin of a request."""

import logging
from dataclasses import replace

import pytest
from aiohttp.test_utils import make_mocked_request

from config.settings import Settings
from entrypoints.http.forwarding import Forwarding

PROXIES = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"]


class Transport:
    """A connection from one address."""

    def __init__(self, peer):
        self._peer = peer

    def get_extra_info(self, name, default=None):
        return self._peer if name == "peername" else default


def client_of(headers, *, trusted, hops=1, peer="10.0.0.1"):
    peername = peer if peer == "" else (peer, 1)
    request = make_mocked_request(
        "GET", "/v2/", headers={"Host": "inside:5000"} | headers, transport=Transport(peername)
    )
    return Forwarding(trusted, hops=hops).client_of(request)


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::7"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "6.6.6.6"},
        {"X-Forwarded-For": "6.6.6.6, 7.7.7.7"},
        {"X-Real-Ip": "6.6.6.6"},
        {"Forwarded": "for=6.6.6.6"},
        {"Forwarded": "for=6.6.6.6, for=7.7.7.7", "X-Forwarded-For": "8.8.8.8"},
    ],
)
def test_addresses_are_ignored_unless_proxies_are_configured(headers, peer):
    for trusted in (None, [], ["192.0.2.0/24"]):
        assert client_of(headers, trusted=trusted, peer=peer).address == peer


def test_links_follow_any_proxy_unless_proxies_are_configured():
    headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
    for sent in (headers, {"Forwarded": "for=6.6.6.6;proto=https;host=a.example, for=7.7.7.7"}):
        client = client_of(sent, trusted=None)
        assert (client.scheme, client.host, client.address) == ("https", "a.example", "10.0.0.1")
        assert client_of(sent, trusted=[]).scheme == "http"


@pytest.mark.parametrize(
    ("headers", "hops", "address"),
    [
        # A client inside the network of the proxies can send any header; the proxy appends the client's address.
        ({"X-Forwarded-For": "6.6.6.6, 10.9.9.9"}, 1, "10.9.9.9"),
        ({"X-Forwarded-For": "10.6.6.6, 10.9.9.9"}, 1, "10.9.9.9"),
        ({"X-Forwarded-For": "6.6.6.6, 10.9.9.9, 10.0.0.2"}, 2, "10.9.9.9"),
        ({"Forwarded": "for=6.6.6.6, for=10.9.9.9"}, 1, "10.9.9.9"),
        # No address, such as what nginx writes of a Unix socket, takes the place of none.
        ({"X-Forwarded-For": "6.6.6.6, unix:"}, 2, "10.0.0.1"),
        ({"X-Forwarded-For": "6.6.6.6,"}, 1, "10.0.0.1"),
        # Fewer proxies than hops.
        ({"X-Forwarded-For": "1.2.3.4"}, 5, "1.2.3.4"),
        ({"X-Forwarded-For": "6.6.6.6, 1.2.3.4"}, 5, "1.2.3.4"),
    ],
)
def test_addresses_are_read_from_the_right(headers, hops, address):
    assert client_of(headers, trusted=PROXIES, hops=hops).address == address


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "10.0.0.1"),
        ({"X-Forwarded-For": "1.2.3.4, 10.0.0.2"}, "1.2.3.4"),
        ({"X-Forwarded-For": "unknown, 1.2.3.4:77"}, "1.2.3.4"),
        ({"X-Real-Ip": "1.2.3.4"}, "1.2.3.4"),
        ({"X-Real-Ip": "nonsense"}, "10.0.0.1"),
        ({"Forwarded": 'for=1.2.3.4, for="[2001:db8::1]:4711"'}, "2001:db8::1"),
        ({"Forwarded": "for=_hidden", "X-Real-Ip": "1.2.3.4"}, "10.0.0.1"),
        ({"Forwarded": ",", "X-Real-Ip": "1.2.3.4"}, "10.0.0.1"),
        ({"Forwarded": '"', "X-Forwarded-For": "1.2.3.4"}, "1.2.3.4"),
        # Most proxies write X-Forwarded-For and pass on a Forwarded of the client's.
        ({"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "1.2.3.4"}, "1.2.3.4"),
        ({"X-Forwarded-For": "::ffff:1.2.3.4"}, "1.2.3.4"),
    ],
)
def test_configured_proxy_is_trusted(headers, address):
    assert client_of(headers, trusted=PROXIES, hops=2).address == address


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"X-Forwarded-For": "6.6.6.6, 1.2.3.4, 10.0.0.2"}, "1.2.3.4"),
        ({"X-Forwarded-For": "10.0.0.3, 10.0.0.2"}, "10.0.0.3"),
        ({"Forwarded": "for=6.6.6.6;proto=https;host=evil, for=1.2.3.4;proto=https;host=a.example"}, "1.2.3.4"),
        ({"X-Real-Ip": "1.2.3.4"}, "1.2.3.4"),
    ],
)
def test_address_seen_by_the_outermost_trusted_proxy_is_the_client(headers, address):
    client = client_of(headers, trusted=PROXIES, hops=2)
    assert client.address == address
    assert client.host != "evil"


def test_outermost_proxy_determines_scheme_and_host():
    elements = "for=6.6.6.6;host=evil, for=1.2.3.4;proto=https;host=a.example, for=10.0.0.7;proto=http;host=b"
    client = client_of({"Forwarded": elements}, trusted=PROXIES, hops=2)
    assert (client.scheme, client.host) == ("https", "a.example")


@pytest.mark.parametrize("peer", ["1.2.3.4", "2001:db8::1", "::ffff:1.2.3.4"])
def test_other_proxies_are_not_trusted(peer):
    headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil"}
    client = client_of(headers, trusted=PROXIES, peer=peer)
    assert client.address == peer.removeprefix("::ffff:")
    assert (client.scheme, client.host) == ("http", "inside:5000")


@pytest.mark.parametrize("peer", ["::ffff:10.1.2.3", "fd00::1", ""])
def test_mapped_addresses_and_unix_sockets_are_proxies_too(peer):
    assert client_of({"X-Forwarded-Proto": "https"}, trusted=PROXIES, peer=peer).scheme == "https"


def test_invalid_host_is_ignored():
    assert client_of({"Host": "a b>"}, trusted=None).host is None


async def location(api, headers):
    async with api.request("POST", "/v2/a/blobs/uploads/", headers=headers) as response:
        assert response.status == 202
        return response.headers["Location"].partition("/v2/a/blobs/uploads/")[0]


@pytest.mark.parametrize(("proxies", "origin"), [(("127.0.0.0/8",), "https://a.example"), (("10.0.0.0/8",), "{root}")])
async def test_links_follow_trusted_proxies_only(start, proxies, origin):
    api = await start(replace(Settings(), http=replace(Settings().http, trusted_proxies=proxies)))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
    assert await location(api, headers) == origin.format(root=api.root)


async def test_unwritable_host_leaves_a_path(api):
    assert await location(api, {"Host": "a b>"}) == ""


@pytest.mark.parametrize(("proxies", "address"), [(("127.0.0.0/8",), "1.2.3.4"), (None, "127.0.0.1")])
async def test_access_log_shows_the_client(guarded, caplog, proxies, address):
    caplog.set_level(logging.INFO, logger="registry.access")
    server = await guarded(replace(Settings(), http=replace(Settings().http, trusted_proxies=proxies)))
    await server.exchange(b"GET /v2/ HTTP/1.0\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n\r\n")
    [record] = [record for record in caplog.records if record.name == "registry.access"]
    assert getattr(record, "http.request.remoteaddr") == address
