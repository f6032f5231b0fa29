"""Redirects to Amazon CloudFront with signed URLs: distribution's middleware `cloudfront`."""

import base64
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typing_extensions import override

from adapters.auth.watched_file import WatchedFile
from adapters.held_urls import HeldUrls
from adapters.redirection.aws_networks import AwsNetworks
from core.model.events import Actor
from core.ports.authenticator import CredentialSourceError
from core.ports.redirection import Redirector

_KEY_BYTES_MAX: Final = 64 * 1024
_RSA_BITS: Final = range(1024, 8192 + 1)
_ESCAPES: Final = bytes.maketrans(b"+=/", b"-_~")
"""CloudFront's replacements for the characters of Base64 that have a meaning in a URL."""


class CloudFrontRedirector(Redirector):
    """Names URLs of a distribution of CloudFront, each signed with a canned policy and used for half of its validity.

    The file of the key is read again when it changes. All URLs are then signed with the new key.

    Args:
        inner: names the URLs for clients in the networks of AWS; opened and closed by the caller.
        base_url: the URL of the bucket's root at CloudFront, ending with a slash.
        store_key: returns the key in the bucket for a key of the port.
        key_pair_id: CloudFront's id of the public key.
        private_key: PEM file of the RSA key, without a password.
        validity_seconds: how long a URL is valid from its signature.
        networks: the networks whose clients get URLs of `inner`, which the redirector opens; None for no client.
        now: returns the unix time.
    """

    def __init__(
        self,
        inner: Redirector,
        *,
        base_url: str,
        store_key: Callable[[str], str],
        key_pair_id: str,
        private_key: str,
        validity_seconds: float,
        networks: AwsNetworks | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._base_url = base_url
        self._store_key = store_key
        self._key_pair_id = key_pair_id
        self._key = WatchedFile(private_key, "the private key of CloudFront", _parse_key)
        self._validity_seconds = validity_seconds
        self._networks = networks
        self._now = now
        self._held = HeldUrls(validity_seconds / 2, now)
        self._stack = AsyncExitStack()

    @override
    async def start(self) -> None:
        await self._key.current()
        if self._networks is not None:
            await self._stack.enter_async_context(self._networks)

    @override
    async def stop(self) -> None:
        await self._stack.aclose()

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        if self._networks is not None and self._networks.contain(by.origin().address):
            return await self._inner.url(key, by=by)
        signer = await self._key.current()
        return self._held.find(key, signer) or self._held.hold(key, self._sign(key, signer), signer)

    def _sign(self, key: str, signer: RSAPrivateKey) -> str:
        url = self._base_url + quote(self._store_key(key), safe="/~")
        expires = int(self._now() + self._validity_seconds)
        # CloudFront compares the signature with that of exactly this text, and accepts no hash but SHA-1 in it.
        policy = (
            f'{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}'
        )
        signature = base64.b64encode(signer.sign(policy.encode(), PKCS1v15(), SHA1())).translate(_ESCAPES)  # noqa: S303
        return f"{url}?Expires={expires}&Signature={signature.decode()}&Key-Pair-Id={self._key_pair_id}"


def _parse_key(content: bytes) -> RSAPrivateKey:
    if len(content) > _KEY_BYTES_MAX:
        raise CredentialSourceError(f"is larger than {_KEY_BYTES_MAX} bytes")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not the error's text: it may contain parts of the file.
        raise CredentialSourceError("is not an RSA private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise CredentialSourceError("is not an RSA key, which signed URLs need")
    if key.key_size not in _RSA_BITS:
        raise CredentialSourceError(f"has {key.key_size} bits: CloudFront uses RSA keys of 2048 bits")
    return key
