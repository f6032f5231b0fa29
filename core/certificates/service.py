"""The certificates of the configured hosts: which are held, when they are ordered, and the answers to challenges."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from core.certificates.records import RATE_LIMITED, CertificateRecords, pause_seconds
from core.coordination.lease import Lease
from core.model.secret import Secret
from core.ports.certificate_authority import Certificate, CertificateAuthority, CertificateOrderError, ChallengeAnswer

_logger = logging.getLogger(__name__)

JOB: Final = "certificates"
"""Name of the lease on orders."""
ANSWER_SECONDS: Final = 1.0
"""Maximum age of a process's last read of the answer; strangers can cause one read in this time."""
_SETTLE_SECONDS: Final = 2 * ANSWER_SECONDS
"""Pause after an answer was stored, so that no process still remembers that there was none."""
_MISSING_SECONDS: Final = 2.0
"""Interval at which a process looks for a certificate that it does not have."""
_PAUSE_SECONDS_MAX: Final = 86400.0
"""Longest pause after a certificate; Let's Encrypt issues five equal ones in a week."""
_RETRY_SECONDS: Final = 10.0
"""Interval at which a process tries to order a certificate that it does not have."""
_LOOK_SECONDS_MAX: Final = 3600.0
_DUE_SECONDS_MAX: Final = 60.0
_DUE_LOOKS: Final = 60
"""Number of looks between the time of renewal and the end of a certificate, at least."""

ObserveOrder = Callable[[bool], None]
"""Called after each order with whether it brought a certificate."""


class Certificates:
    """The certificates of this registry; one per process.

    Only the configured hosts are ever ordered, whatever names clients ask for. An order is recorded in the store before
    the authority is contacted, and its account key is stored before its first use: after a kill, the next order of any
    replica waits for the same pause as after a failed order. A certificate that was issued but not stored is lost with
    its process.

    Args:
        records: the objects in the store.
        authority: issues the certificates.
        lease: held by the process that orders.
        hosts: names in lower case, one certificate each.
        now: the current time, UTC-aware.
        clock: monotonic seconds.
        sleep: suspends for a number of seconds of that clock.
    """

    def __init__(
        self,
        records: CertificateRecords,
        authority: CertificateAuthority,
        lease: Lease,
        *,
        hosts: Sequence[str],
        now: Callable[[], datetime],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.hosts = tuple(hosts)
        self._records = records
        self._authority = authority
        self._lease = lease
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._held: dict[str, Certificate] = {}
        self._unsaved: dict[str, Certificate] = {}
        self._look_at = dict.fromkeys(self.hosts, float("-inf"))
        self._order_at = dict.fromkeys(self.hosts, float("-inf"))
        self._watchers: list[Callable[[Certificate], None]] = []
        self._answer: ChallengeAnswer | None = None
        self._answer_read_at = float("-inf")
        self._answer_lock = asyncio.Lock()

    @property
    def held(self) -> Mapping[str, Certificate]:
        """The newest certificate that this process has seen, by host."""
        return self._held

    @property
    def missing(self) -> Sequence[str]:
        """The hosts without a certificate that is valid now."""
        return [host for host in self.hosts if host not in self._held or self._held[host].ends_at <= self._now()]

    def watch(self, watcher: Callable[[Certificate], None]) -> None:
        """Call `watcher` with each certificate that this process holds or will hold."""
        for certificate in self._held.values():
            watcher(certificate)
        self._watchers.append(watcher)

    async def refresh(self) -> None:
        """Read the certificates that other processes may have stored since the last look. Call this every second.

        Costs nothing while no certificate is due, but one request for each host and hour.

        Raises:
            StorageError: the store failed; the held certificates stay in use.
        """
        for host in self.hosts:
            if self._clock() >= self._look_at[host]:
                await self._look(host)

    async def order_due(self, observe: ObserveOrder) -> None:
        """Order the certificates that are missing or due, unless another replica does. Call this every second.

        Failures of the authority are logged; the next order follows after a pause that all replicas keep.

        Raises:
            StorageError: the store failed.
        """
        due = [host for host in self.hosts if self._is_due(host) and self._clock() >= self._order_at[host]]
        if not due:
            return
        for host in due:
            # Also the interval at which a store that cannot be written is tried.
            self._order_at[host] = self._clock() + (self._look_seconds(host) if host in self._held else _RETRY_SECONDS)
        if not await self._lease.try_acquire():
            return
        async with self._lease.keeping():
            now = await self._lease.written_at()
            for host in due:
                await self._order_if_due(host, now, observe)

    async def answer(self) -> ChallengeAnswer | None:
        """Return the answer to the challenge of the current order, of whichever replica. At most one request a second.

        Raises:
            StorageError: the store failed.
        """
        async with self._answer_lock:
            return await self._fresh_answer()

    async def _fresh_answer(self) -> ChallengeAnswer | None:
        if self._clock() - self._answer_read_at >= ANSWER_SECONDS:
            self._answer, self._answer_read_at = None, self._clock()
            self._answer = await self._records.answer()
        return self._answer

    def _is_due(self, host: str) -> bool:
        return host not in self._held or self._held[host].renews_at <= self._now()

    def _look_seconds(self, host: str) -> float:
        """Return the interval at which this process looks for a newer certificate of a host."""
        held = self._held.get(host)
        if held is None:
            return _MISSING_SECONDS
        until_renewal = (held.renews_at - self._now()).total_seconds()
        if until_renewal > 0:
            return min(_LOOK_SECONDS_MAX, until_renewal)
        seconds = (held.ends_at - held.renews_at).total_seconds() / _DUE_LOOKS
        return min(_DUE_SECONDS_MAX, max(1.0, seconds))

    async def _look(self, host: str) -> None:
        # First, so that a failing store is asked at the same interval.
        self._look_at[host] = self._clock() + self._look_seconds(host)
        found = await self._records.certificate(host)
        if found is not None:
            self._keep(found)

    def _keep(self, certificate: Certificate) -> None:
        held = self._held.get(certificate.host)
        if held is not None and certificate.begins_at <= held.begins_at:
            return
        self._held[certificate.host] = certificate
        self._look_at[certificate.host] = self._clock() + self._look_seconds(certificate.host)
        for watcher in self._watchers:
            watcher(certificate)

    async def _order_if_due(self, host: str, now: datetime, observe: ObserveOrder) -> None:
        # Another replica may have renewed it.
        await self._look(host)
        if not self._is_due(host) or not self._lease.is_held:
            return
        if host not in self._unsaved:
            attempts = await self._records.attempts(host)
            if seconds := attempts.seconds_left(now, after_success=self._renewal_pause(host)):
                self._order_at[host] = self._clock() + seconds
                if not attempts.count:
                    _logger.warning("%s: the new certificate is due already, check the clock", host)
                return
            await self._order(host, attempts.count + 1, observe)
        # After a failure of the store, the next call saves the certificate.
        if (certificate := self._unsaved.get(host)) is not None:
            await self._records.save(certificate)
            del self._unsaved[host]
            self._keep(certificate)

    def _renewal_pause(self, host: str) -> float:
        held = self._held.get(host)
        return 0.0 if held is None else min(_PAUSE_SECONDS_MAX, (held.ends_at - held.renews_at).total_seconds())

    async def _order(self, host: str, count: int, observe: ObserveOrder) -> None:
        await self._records.note_attempt(host, count)
        account_key = await self._account_key()
        _logger.info("ordering a certificate", extra={"host": host})
        try:
            certificate = self._unsaved[host] = await self._authority.order(host, account_key, self._publish)
        except CertificateOrderError as error:
            observe(False)  # noqa: FBT003 - the type names it
            if error.is_rate_limited:
                count = max(count, RATE_LIMITED)
                await self._records.note_attempt(host, count)
            self._order_at[host] = self._clock() + pause_seconds(count)
            self._log_failure(host, error, pause_seconds(count))
        else:
            observe(True)  # noqa: FBT003 - the type names it
            _logger.info("certificate obtained", extra={"host": host, "until": certificate.ends_at.isoformat()})
        finally:
            await self._records.remove_answer()

    def _log_failure(self, host: str, error: CertificateOrderError, seconds: float) -> None:
        held = self._held.get(host)
        state = "there is none yet" if held is None else f"the current one ends at {held.ends_at.isoformat()}"
        _logger.warning(
            "no certificate for %s, next order in %d s (%s): %s", host, seconds, state, error, extra={"host": host}
        )

    async def _account_key(self) -> Secret:
        key = await self._records.account_key()
        if key is None:
            key = await self._authority.new_account_key()
            await self._records.save_account_key(key)
        return key

    async def _publish(self, answer: ChallengeAnswer) -> None:
        await self._records.save_answer(answer)
        await self._sleep(_SETTLE_SECONDS)
