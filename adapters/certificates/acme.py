"""Certificates from an ACME server (RFC 8555), by the challenges http-01 and tls-alpn-01 (RFC 8737).

The `acme` library of certbot does the protocol. It blocks, so each of its calls runs in a thread; none takes
longer than its time limit, for which a server that stops waits at most.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from requests import RequestException
from typing_extensions import override

from adapters.certificates.pairs import certificate_of, key_pem, new_private_key
from core.model.secret import Secret
from core.ports.certificate_authority import (
    Certificate,
    CertificateAuthority,
    CertificateOrderError,
    ChallengeAnswer,
    PublishAnswer,
)

T = TypeVar("T")

_REQUEST_SECONDS: Final = 15
_STEP: Final = timedelta(seconds=3)
"""Time that one call polls the server."""
_STEPS_MAX: Final = 30
_REASON_LENGTH_MAX: Final = 500


@challenges.ChallengeResponse.register
class _TlsAlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@challenges.Challenge.register
class _TlsAlpn(challenges.KeyAuthorizationChallenge):
    """The challenge tls-alpn-01, which the library no longer contains."""

    response_cls = _TlsAlpnResponse
    typ = _TlsAlpnResponse.typ

    @override
    def validation(self, account_key: JWK, **kwargs: Any) -> str:
        return self.key_authorization(account_key)


class AcmeAuthority(CertificateAuthority):
    """An ACME server.

    Args:
        directory_url: address of its directory.
        email: address that the server may write to; empty for none.
        ca: PEM file of the authorities that sign the server's own certificate; empty for the public ones.
        challenge: `http-01` or `tls-alpn-01`.
        now: the current time, UTC-aware.
        agent: name and version of this program.
    """

    def __init__(
        self, directory_url: str, *, email: str, ca: str, challenge: str, now: Callable[[], datetime], agent: str
    ) -> None:
        self._directory_url = directory_url
        self._email = email
        self._ca = ca
        self._challenge = challenge
        self._now = now
        self._agent = agent

    @override
    async def new_account_key(self) -> Secret:
        return key_pem(new_private_key())

    @override
    async def order(self, host: str, account_key: Secret, publish: PublishAnswer) -> Certificate:
        account = JWKEC(key=load_pem_private_key(account_key.reveal().encode(), password=None))
        acme = await _call(self._connect, account)
        key = key_pem(new_private_key())
        csr = crypto_util.make_csr(key.reveal().encode(), [host])
        order = await _call(acme.new_order, csr)
        await self._prove(acme, account, order, host, publish)
        order = await self._poll(acme.poll_authorizations, order)
        order = await _call(acme.begin_finalization, order)
        order = await self._poll(acme.poll_finalization, order)
        try:
            return certificate_of(host, order.fullchain_pem, key)
        except ValueError:
            raise CertificateOrderError("the server sent no certificate") from None

    def _connect(self, key: JWKEC) -> client.ClientV2:
        """Read the directory, and create the account, or find the one of the key. Blocks."""
        verify: Any = self._ca or True
        network = client.ClientNetwork(
            key, alg=ES256, verify_ssl=verify, user_agent=self._agent, timeout=_REQUEST_SECONDS
        )
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory_url, network), network)
        contact: dict[str, Any] = {"email": self._email} if self._email else {}
        registration = messages.NewRegistration.from_data(terms_of_service_agreed=True, **contact)
        try:
            acme.new_account(registration)
        except errors.ConflictError as error:
            network.account = messages.RegistrationResource(body=messages.Registration(), uri=error.location)
        return acme

    async def _prove(
        self,
        acme: client.ClientV2,
        account: JWKEC,
        order: messages.OrderResource,
        host: str,
        publish: PublishAnswer,
    ) -> None:
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue
            offered = {each.chall.to_partial_json()["type"]: each for each in authorization.body.challenges}
            challenge = offered.get(self._challenge)
            if challenge is None:
                raise CertificateOrderError(f"the server offers {', '.join(sorted(offered))}, not {self._challenge}")
            text = challenge.chall.key_authorization(account)
            await publish(ChallengeAnswer(host=host, token=text.partition(".")[0], key_authorization=text))
            await _call(acme.answer_challenge, challenge, challenge.chall.response(account))

    async def _poll(
        self, poll: Callable[[messages.OrderResource, datetime], messages.OrderResource], order: messages.OrderResource
    ) -> messages.OrderResource:
        for _ in range(_STEPS_MAX):
            # The library compares with the local time without a zone.
            deadline = (self._now() + _STEP).astimezone().replace(tzinfo=None)
            try:
                return await _call(poll, order, deadline)
            except TimeoutError:
                continue
        raise CertificateOrderError("the server did not finish the order in time")


async def _call(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the library in a thread.

    Raises:
        TimeoutError: the time of a poll is over.
        CertificateOrderError: the call failed.
    """
    try:
        return await asyncio.to_thread(function, *arguments)
    except errors.TimeoutError:
        raise TimeoutError from None
    except errors.ValidationError as error:
        raise CertificateOrderError(_shorten("; ".join(_reasons(error)))) from None
    except errors.IssuanceError as error:
        raise CertificateOrderError(_shorten(str(error.error))) from None
    except messages.Error as error:
        raise CertificateOrderError(_shorten(str(error)), is_rate_limited=error.code == "rateLimited") from None
    except (errors.Error, JoseError, RequestException, OSError, KeyError, ValueError) as error:
        raise CertificateOrderError(_shorten(f"{type(error).__name__}: {error}")) from None


def _reasons(error: errors.ValidationError) -> list[str]:
    return [
        str(challenge.error)
        for authorization in error.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]


def _shorten(reason: str) -> str:
    return " ".join(reason.split())[:_REASON_LENGTH_MAX]
