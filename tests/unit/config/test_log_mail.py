"""Mails about log records, on a mail server."""

import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.log_mail import WAITING_MAX, MailHandler
from config.logging import configure_logging
from config.settings import LogSettings
from config.settings.log import HookSettings, MailLevel, MailSettings
from core.model.secret import Secret
from tests.support.certificates import Authority
from tests.support.configuration import MINIMAL, LoadText, problems_of, shown
from tests.support.ports import free_port
from tests.support.smtp_server import SmtpServer, smtp_server

HOOK = (
    "log: {hooks: [{type: mail, levels: [panic], options: {smtp: {addr: 'mail.example.com:25', username: u, "
    "password: hunter2, insecure: true}, from: a@b.c, to: [d@e.f]}}]}\n"
)


def hook(addr: str, *levels: str, **options: object) -> HookSettings:
    mail = MailSettings(addr=addr, sender="registry@example.com", to=("a@example.com", "b@example.com"), **options)  # type: ignore[arg-type]
    return HookSettings(levels=tuple(MailLevel(level) for level in levels), options=mail)


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with smtp_server() as running:
        yield running


def record(
    text: str, level: int = logging.ERROR, *, error: BaseException | None = None, name: str = "core.test"
) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(name, level, __file__, 1, text, (), trace)


def test_record_is_mailed(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    handler.handle(record("the store\r\nBcc: x@example.com\nfails"))
    [mail] = server.wait_for(1)
    assert mail["Subject"] == f"[error] {socket.gethostname()}: the store  Bcc: x@example.com fails"
    assert (mail["From"], mail["To"]) == ("registry@example.com", "a@example.com, b@example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "the store" in mail.get_content()
    assert server.recipients == [["a@example.com", "b@example.com"]]
    handler.close()


@pytest.mark.parametrize(
    ("levels", "mailed"),
    [
        (["panic"], ["critical", "defect"]),
        (["fatal"], ["critical"]),
        (["error"], ["error", "defect"]),
        (["warning", "info"], ["warning", "info"]),
        (["warn"], ["warning"]),
        (["debug"], ["debug"]),
    ],
)
def test_levels_select_records(server: SmtpServer, levels: list[str], mailed: list[str]) -> None:
    """A defect is an error with a traceback, a panic in Go."""
    handler = MailHandler(hook(server.address, *levels), interval_seconds=0)
    for name in ("debug", "info", "warning", "error", "critical"):
        handler.handle(record(name, logging.getLevelNamesMapping()[name.upper()]))
    handler.handle(record("defect", error=ValueError("x")))
    handler.handle(record("own", name="config.log_mail"))
    handler.close()
    text = "".join(mail.get_content() for mail in server.mails)
    found = [
        name for name in ("critical", "error", "warning", "info", "debug", "defect", "own") if name in text.split()
    ]
    assert sorted(found) == sorted(mailed)


def test_records_of_one_interval_share_a_mail_and_the_rest_is_counted(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    handler.handle(record("first"))
    server.wait_for(1)
    for number in range(WAITING_MAX + 5):
        handler.handle(record(f"number {number}"))
    assert len(server.mails) == 1
    handler.close()
    [_, mail] = server.wait_for(2)
    assert mail["Subject"].endswith(f"number 0 (and {WAITING_MAX - 1} more)")
    assert "5 earlier records are in the log only." in mail.get_content()


def test_long_record_is_cut(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    handler.handle(record("é" * 100_000))
    handler.close()
    [mail] = server.wait_for(1)
    assert len(mail.get_content()) < 17_000
    assert len(mail["Subject"]) < 250


def test_unreachable_server_costs_callers_nothing(caplog: pytest.LogCaptureFixture) -> None:
    handler = MailHandler(hook(f"127.0.0.1:{free_port()}", "error"))
    handler.handle(record("lost"))
    handler.close()
    assert "log.hooks: 1 records are not mailed: ConnectionRefusedError: Connection refused" in caplog.text


def test_silent_server_does_not_hold_the_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        handler = MailHandler(hook(f"127.0.0.1:{silent.getsockname()[1]}", "error"))
        begun = time.thread_time()
        for number in range(1000):
            handler.handle(record(f"number {number}"))
        assert time.thread_time() - begun < 5
        handler.retire()
        connection, _ = silent.accept()
        connection.close()


def test_refused_mail_is_counted_in_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    with smtp_server(refuses=True) as server:
        handler = MailHandler(hook(server.address, "error"), interval_seconds=0)
        handler.handle(record("lost"))
        server.wait_for_command("QUIT")
        server.refuses = False
        handler.handle(record("found"))
        [mail] = server.wait_for(1)
        handler.close()
    assert "1 earlier records are in the log only." in mail.get_content()
    assert "SMTPRecipientsRefused" in caplog.text


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    pair = Authority(tmp_path).issue("mail")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context, pair.authority


def test_password_goes_through_tls(certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    context, authority = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with smtp_server(context=context, login=("u", "hunter2")) as server:
        handler = MailHandler(hook(server.address, "error", username="u", password=Secret("hunter2")))
        handler.handle(record("content"))
        server.wait_for(1)
        handler.close()
    assert any(command.startswith("TLS AUTH PLAIN") for command in server.commands)
    assert not any(command.startswith("AUTH") for command in server.commands)


def test_unknown_certificate_is_accepted_only_if_insecure(
    certificate: tuple[ssl.SSLContext, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with smtp_server(context=certificate[0]) as server:
        for insecure in (False, True):
            handler = MailHandler(hook(server.address, "error", insecure=insecure))
            handler.handle(record(f"insecure {insecure}"))
            handler.close()
        [mail] = server.wait_for(1)
    assert "insecure True" in mail.get_content()
    assert "SSLCertVerificationError" in caplog.text


def test_wrong_password_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with smtp_server(login=("u", "right")) as server:
        handler = MailHandler(hook(server.address, "error", username="u", password=Secret("hunter2")))
        handler.handle(record("content"))
        handler.close()
    assert "SMTPAuthenticationError: the server answers 535" in caplog.text
    assert "hunter2" not in caplog.text


def test_password_is_not_sent_in_clear_to_another_machine(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def here(_host: str, *more: Any, **options: Any) -> object:
        return resolve("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with smtp_server(login=("u", "hunter2")) as server:
        address = server.address.replace("127.0.0.1", "mail.example.com")
        for insecure in (False, True):
            options = {"username": "u", "password": Secret("hunter2"), "insecure": insecure}
            handler = MailHandler(hook(address, "error", **options))
            handler.handle(record(f"insecure {insecure}"))
            handler.close()
        [mail] = server.wait_for(1)
    assert "insecure True" in mail.get_content()
    assert "the server offers no TLS for the password; smtp.insecure sends it without" in caplog.text


def test_forked_process_mails_by_itself(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    handler.handle(record("of the parent"))
    server.wait_for(1)
    child = os.fork()
    if child == 0:
        handler.handle(record("of the child"))
        handler.close()
        os._exit(0)
    os.waitpid(child, 0)
    [_, mail] = server.wait_for(2)
    assert "of the child" in mail.get_content()
    handler.close()


def test_end_of_a_forked_process_waits_for_no_thread_of_its_parent(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    may_end = threading.Event()

    def hold() -> None:
        with handler._changed:  # noqa: SLF001 - as the thread of the handler does
            is_held.set()
            may_end.wait(60)

    is_held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        code = 1
        try:
            handler.close()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    may_end.set()
    thread.join()
    handler.close()
    assert os.waitstatus_to_exitcode(status) == 0


def test_record_that_cannot_be_formatted_is_mailed(server: SmtpServer) -> None:
    handler = MailHandler(hook(server.address, "error"))
    handler.handle(logging.LogRecord("core.test", logging.ERROR, __file__, 1, "%d", ("x",), None))
    [mail] = server.wait_for(1)
    assert "a record of core.test cannot be formatted" in mail["Subject"]
    handler.close()


def test_servers_mail_and_commands_do_not(server: SmtpServer) -> None:
    settings = LogSettings(hooks=(hook(server.address, "error"), HookSettings(disabled=True)))
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        configure_logging(settings)
        assert not any(isinstance(each, MailHandler) for each in root.handlers)
        configure_logging(settings, waits=False)
        assert sum(isinstance(each, MailHandler) for each in root.handlers) == 1
        logging.getLogger("core.test").error("the store fails", extra={"key": "/a"})
        configure_logging(LogSettings(), waits=False)
        assert not any(isinstance(each, MailHandler) for each in root.handlers)
        [mail] = server.wait_for(1)
    finally:
        configure_logging(LogSettings())
        root.handlers[:] = before
        root.setLevel(level)
    assert 'level=error msg="the store fails" key=/a' in mail.get_content()


def test_hook_in_the_spelling_of_distribution(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL + HOOK)
    [found] = loaded.settings.log.hooks
    assert loaded.warnings == ()
    assert (found.levels, found.options.addr, found.options.username) == (
        (MailLevel.PANIC,),
        "mail.example.com:25",
        "u",
    )
    assert (found.options.sender, found.options.to, found.options.insecure) == ("a@b.c", ("d@e.f",), True)
    assert "hunter2" not in str(shown(loaded))
    variables = {"REGISTRY_LOG_HOOKS_0_MAILOPTIONS_SMTP_ADDR": "other:587"}
    assert load_text(MINIMAL + HOOK, variables).settings.log.hooks[0].options.addr == "other:587"


@pytest.mark.parametrize(
    ("former", "changed", "problem"),
    [
        ("levels: [panic], ", "", "`log.hooks[0].levels` is missing"),
        ("[panic]", "[loud]", "`log.hooks[0].levels[0]` must be one of panic, fatal, error"),
        ("addr: 'mail.example.com:25', ", "", "`log.hooks[0].options.smtp.addr` is missing"),
        ("mail.example.com:25", "mail.example.com", "`log.hooks[0].options.smtp.addr` must be `host:port`"),
        ("mail.example.com:25", ":25", "`log.hooks[0].options.smtp.addr` must be `host:port`"),
        ("from: a@b.c, ", "", "`log.hooks[0].options.from` is missing"),
        ("from: a@b.c", "from: 'a b'", "`log.hooks[0].options.from` must be a mail address"),
        (", to: [d@e.f]", "", "`log.hooks[0].options.to` is missing"),
        ("type: mail", "type: pager", "`log.hooks[0].type` must be one of mail"),
    ],
)
def test_unusable_hook_is_refused(load_text: LoadText, former: str, changed: str, problem: str) -> None:
    found = problems_of(load_text, MINIMAL + HOOK.replace(former, changed))
    assert any(problem in each for each in found), found


def test_disabled_hook_needs_no_options(load_text: LoadText) -> None:
    assert load_text(MINIMAL + "log: {hooks: [{type: mail, disabled: true}]}\n").settings.log.hooks[0].disabled
