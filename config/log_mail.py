"""Mails about log records: `log.hooks`. A thread sends them, so that neither requests nor the log wait for a server."""

import logging
import os
import smtplib
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from ipaddress import ip_address
from typing import Final

from typing_extensions import override

from config.log_handler import ReplaceableHandler
from config.settings.log import HookSettings, MailLevel, MailSettings

_logger = logging.getLogger(__name__)

WAITING_MAX: Final = 100
"""Records that wait for the next mail; further ones are counted."""
INTERVAL_SECONDS: Final = 60.0
"""The time between two mails of one process; records in between share a mail."""
_RECORD_CHARACTERS_MAX: Final = 16 * 1024
_SUBJECT_CHARACTERS_MAX: Final = 150
_TIMEOUT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 3.0
"""How long the end of the process waits for the last mail."""
_TLS_PORT: Final = 465

_NAMES: Final = {
    logging.CRITICAL: {MailLevel.FATAL, MailLevel.PANIC},
    logging.ERROR: {MailLevel.ERROR},
    logging.WARNING: {MailLevel.WARN, MailLevel.WARNING},
    logging.INFO: {MailLevel.INFO},
    logging.DEBUG: {MailLevel.DEBUG},
}


@dataclass(frozen=True, slots=True)
class _Entry:
    level: str
    message: str
    line: str


class MailHandler(ReplaceableHandler):
    """Mails records of some levels; one thread per process, which starts with the first such record.

    A mail is sent at once; the records of the following minute share the next one. If a mail cannot be sent, a warning
    is logged, and its records are counted in the next one.

    Args:
        settings: the hook.
        interval_seconds: the time between two mails.
    """

    def __init__(self, settings: HookSettings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        super().__init__()
        self._levels = frozenset(settings.levels)
        self._mailer = _Mailer(settings.options)
        self._interval_seconds = interval_seconds
        self._prepare()

    def _prepare(self) -> None:
        self._process = os.getpid()
        self._waiting: deque[_Entry] = deque()
        self._dropped = 0
        self._is_closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # A mail about the failure of a mail would fail too.
        if record.name == __name__ or not self._wants(record):
            return
        self._leave_parent()
        try:
            entry = _Entry(record.levelname.lower(), record.getMessage(), self.format(record)[:_RECORD_CHARACTERS_MAX])
        except Exception as error:  # noqa: BLE001 - whatever a caller passed
            entry = _Entry("error", f"a record of {record.name} cannot be formatted", type(error).__name__)
        with self._changed:
            if self._is_closing or len(self._waiting) >= WAITING_MAX:
                self._dropped += 1
                return
            self._waiting.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="log mails", daemon=True)
                self._thread.start()
            self._changed.notify()

    @override
    def retire(self) -> None:
        self._leave_parent()
        # The thread sends the waiting records and ends.
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        super().close()

    @override
    def close(self) -> None:
        self.retire()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _leave_parent(self) -> None:
        """Begin anew in a forked process: the thread stays in the parent, and may have held the lock at the fork."""
        if self._process != os.getpid():
            self._prepare()

    def _wants(self, record: logging.LogRecord) -> bool:
        if _NAMES.get(record.levelno, set()) & self._levels:
            return True
        # A defect, which would be a panic in Go, is an error with a traceback here.
        return MailLevel.PANIC in self._levels and record.levelno == logging.ERROR and bool(record.exc_info)

    def _send_all(self) -> None:
        while entries := self._next():
            dropped, self._dropped = self._dropped, 0
            try:
                self._mailer.send(entries, dropped)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                self._dropped += len(entries) + dropped
                _logger.warning("log.hooks: %d records are not mailed: %s", len(entries), _reason(error))
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, self._interval_seconds)

    def _next(self) -> list[_Entry]:
        """Wait for records; return those that wait, or none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            entries = list(self._waiting)
            self._waiting.clear()
            return entries


class _Mailer:
    """Sends mails by one server."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        host, _, port = settings.addr.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    def send(self, entries: list[_Entry], dropped: int) -> None:
        with self._connect() as server:
            server.send_message(self._mail(entries, dropped))

    def _mail(self, entries: list[_Entry], dropped: int) -> EmailMessage:
        settings, first = self._settings, entries[0]
        mail = EmailMessage()
        more = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
        text = "".join(each if each.isprintable() else " " for each in first.message)
        mail["Subject"] = f"[{first.level}] {socket.gethostname()}: {text[:_SUBJECT_CHARACTERS_MAX]}{more}"
        mail["From"] = settings.sender
        mail["To"] = ", ".join(settings.to)
        mail["Date"] = formatdate(time.time())
        mail["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        lines = [each.line for each in entries]
        if dropped:
            lines.append(f"{dropped} earlier records are in the log only.")
        # A record may be longer than a line of a mail may be, and may contain any character.
        mail.set_content("\n".join(lines) + "\n", cte="quoted-printable")
        return mail

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        server: smtplib.SMTP
        if self._port == _TLS_PORT:
            server = smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            self._secure(server, context)
        except BaseException:
            server.close()
            raise
        return server

    def _secure(self, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
        """Turn TLS on if the server has it, and log in."""
        settings = self._settings
        server.ehlo()
        has_tls = self._port == _TLS_PORT
        if not has_tls and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
            has_tls = True
        if settings.username is None:
            return
        if not (has_tls or settings.insecure or _is_loopback(self._host)):
            raise ValueError("the server offers no TLS for the password; smtp.insecure sends it without")
        server.login(settings.username, "" if settings.password is None else settings.password.reveal())


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    """Return the reason of a failure without the answers of the server, which may repeat what was sent."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__}: the server answers {error.smtp_code}"
    if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException):
        return f"{type(error).__name__}: {error.strerror or error}"
    # An error of smtplib may quote the server; one of this module is about the settings.
    return type(error).__name__ if isinstance(error, smtplib.SMTPException) else str(error)
