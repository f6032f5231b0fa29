"""The URLs that the middlewares of the storage name."""

from dataclasses import dataclass, field
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.blob_storage.s3 import S3Options
from adapters.redirection.base_url import BaseUrlRedirector
from adapters.redirection.cloudfront import CloudFrontRedirector
from adapters.redirection.rewriting import RewritingRedirector
from adapters.redirection.store import StoreRedirector
from core.model.digest import Digest
from core.model.events import UNNAMED, Actor, Origin
from core.ports.authenticator import CredentialSourceError
from core.store import layout
from tests.support.cloudfront import KEY_PAIR_ID, require_signed, write_key
from tests.support.core_services import NOW

KEY = layout.blob_data(Digest.of(b"content"))
STORE = BaseUrlRedirector("https://store.example.com")


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://cdn.example.com:5443", f"https://cdn.example.com:5443{KEY}"),
        ("http://cdn.example.com/", f"http://cdn.example.com{KEY}"),
        ("https://cdn.example.com/path", f"https://cdn.example.com/path{KEY}"),
        ("https://cdn.example.com/path/", f"https://cdn.example.com/path{KEY}"),
        ("https://cdn.example.com//a/../b%20c/", f"https://cdn.example.com/b%20c{KEY}"),
    ],
)
async def test_base_url_is_joined_with_the_storage_path(base, url):
    assert await BaseUrlRedirector(base).url(KEY, by=UNNAMED) == url


async def test_rewriting_keeps_what_is_not_replaced():
    inner = BaseUrlRedirector("http://store/bucket")
    assert await RewritingRedirector(inner).url(KEY, by=UNNAMED) == f"http://store/bucket{KEY}"
    rewritten = RewritingRedirector(inner, scheme="https", host="cdn:1", trim_path_prefix="/bucket")
    assert await rewritten.url(KEY, by=UNNAMED) == f"https://cdn:1{KEY}"
    other = RewritingRedirector(inner, trim_path_prefix="/other")
    assert await other.url(KEY, by=UNNAMED) == f"http://store/bucket{KEY}"


async def test_rewriting_has_no_url_where_the_store_has_none():
    store = StoreRedirector(InMemoryBlobStorage(now=lambda: NOW))
    assert await RewritingRedirector(store, host="cdn").url(KEY, by=UNNAMED) is None


@dataclass
class Networks:
    """The networks of a client."""

    members: set[str] = field(default_factory=set)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error):
        pass

    def contain(self, client):
        return client in self.members


@dataclass
class Clock:
    now: float = 1_800_000_000.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def new_redirector(tmp_path, clock):
    return partial(
        CloudFrontRedirector,
        STORE,
        base_url="https://d1.cloudfront.net/",
        store_key=S3Options(bucket="b", root_directory="/my images/").store_key,
        key_pair_id=KEY_PAIR_ID,
        private_key=str(tmp_path / "key.pem"),
        validity_seconds=1200,
        now=lambda: clock.now,
    )


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
async def test_url_has_the_signature_of_its_policy(new_redirector, tmp_path, clock, form):
    key = write_key(tmp_path / "key.pem", form=form)
    async with new_redirector() as redirector:
        url = await redirector.url(KEY, by=UNNAMED)
    assert url.startswith(f"https://d1.cloudfront.net/my%20images{KEY}?Expires=1800001200&Signature=")
    require_signed(url, key.public_key(), now=clock.now)
    with pytest.raises(ValueError, match="expired"):
        require_signed(url, key.public_key(), now=clock.now + 1200)


async def test_url_is_used_for_half_of_its_validity(new_redirector, tmp_path, clock):
    write_key(tmp_path / "key.pem")
    async with new_redirector() as redirector:
        first = await redirector.url(KEY, by=UNNAMED)
        clock.now += 599
        assert await redirector.url(KEY, by=UNNAMED) == first
        clock.now += 1
        assert "Expires=1800001800" in await redirector.url(KEY, by=UNNAMED)


async def test_changed_key_signs_all_urls_again(new_redirector, tmp_path, clock):
    write_key(tmp_path / "key.pem")
    async with new_redirector() as redirector:
        await redirector.url(KEY, by=UNNAMED)
        key = write_key(tmp_path / "new.pem")
        (tmp_path / "new.pem").replace(tmp_path / "key.pem")
        require_signed(await redirector.url(KEY, by=UNNAMED), key.public_key(), now=clock.now)


async def test_unusable_new_key_leaves_the_former_one(new_redirector, tmp_path, clock, caplog):
    key = write_key(tmp_path / "key.pem")
    async with new_redirector() as redirector:
        (tmp_path / "key.pem").write_text("nothing")
        require_signed(await redirector.url(KEY, by=UNNAMED), key.public_key(), now=clock.now)
    assert "keeping the content read before: the private key of CloudFront" in caplog.text


def ec_key() -> bytes:
    key = generate_ec_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked_key() -> bytes:
    key = generate_ec_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nhunter2\n", "is not an RSA private key in PEM without a password"),
        (locked_key(), "is not an RSA private key in PEM without a password"),
        (ec_key(), "is not an RSA key, which signed URLs need"),
        (b"x" * 70_000, "is larger than 65536 bytes"),
    ],
    ids=["missing", "broken", "locked", "other kind", "large"],
)
async def test_wrong_key_file_is_refused_when_opened(new_redirector, tmp_path, content, problem):
    if content is not None:
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(CredentialSourceError) as refused:
        async with new_redirector():
            pass
    assert str(refused.value) == f"the private key of CloudFront {tmp_path / 'key.pem'}: {problem}"


async def test_clients_in_the_networks_get_urls_of_the_store(new_redirector, tmp_path):
    write_key(tmp_path / "key.pem")
    inside, outside = (Actor(describe=partial(Origin, address=f"10.0.0.{number}:5")) for number in (1, 2))
    async with new_redirector(networks=Networks({"10.0.0.1:5"})) as redirector:
        assert await redirector.url(KEY, by=inside) == f"https://store.example.com{KEY}"
        for each in (outside, UNNAMED):
            assert (await redirector.url(KEY, by=each)).startswith("https://d1.cloudfront.net/")
