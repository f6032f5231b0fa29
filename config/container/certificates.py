"""Construction of the service for certificates from an ACME server, if `http.tls.letsencrypt` is set."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from typing_extensions import override

from config.container.schedules import make_lease
from config.container.surroundings import boot_clock
from config.settings import LetsEncryptSettings, Settings
from config.version import installed_version
from core.certificates.records import CertificateRecords
from core.certificates.service import JOB, Certificates
from core.model.secret import Secret
from core.ports.blob_storage import BlobStorage
from core.ports.certificate_authority import Certificate, CertificateAuthority, PublishAnswer


def make_certificates(
    settings: Settings, *, storage: BlobStorage, secret: bytes, now: Callable[[], datetime]
) -> Certificates | None:
    """Return the service, or None without the setting."""
    acme = settings.http.tls.lets_encrypt if settings.http.tls else None
    if acme is None:
        return None
    from adapters.certificates.sealing import Sealing  # noqa: PLC0415

    sealing = Sealing(secret, acme.directory_url)
    return Certificates(
        CertificateRecords(storage, scope=sealing.scope, seal=sealing.seal, unseal=sealing.unseal),
        _LateAuthority(acme, now),
        make_lease(JOB, storage=storage),
        hosts=acme.hosts,
        now=now,
        clock=boot_clock,
        sleep=asyncio.sleep,
    )


class _LateAuthority(CertificateAuthority):
    """The ACME server, whose library is imported at the first order: it takes half a second, and 9 MB of memory."""

    def __init__(self, settings: LetsEncryptSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._authority: CertificateAuthority | None = None

    @override
    async def new_account_key(self) -> Secret:
        return await (await self._opened()).new_account_key()

    @override
    async def order(self, host: str, account_key: Secret, publish: PublishAnswer) -> Certificate:
        return await (await self._opened()).order(host, account_key, publish)

    async def _opened(self) -> CertificateAuthority:
        if self._authority is None:
            self._authority = await asyncio.to_thread(self._open)
        return self._authority

    def _open(self) -> CertificateAuthority:
        from adapters.certificates.acme import AcmeAuthority  # noqa: PLC0415

        acme = self._settings
        return AcmeAuthority(
            acme.directory_url,
            email=acme.email,
            ca=acme.ca,
            challenge=acme.challenge.value,
            now=self._now,
            agent=f"sohu-registry/{installed_version()}",
        )
