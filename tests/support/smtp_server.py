"""A mail server that keeps the mails which it gets, for tests: SMTP with STARTTLS and logins (RFC 5321, 3207, 4954)."""

import base64
import contextlib
import email
import email.policy
import socketserver
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage

from typing_extensions import override


class SmtpServer(socketserver.ThreadingTCPServer):
    """Accepts mails on a port of 127.0.0.1.

    Args:
        context: the certificate of the server; None for a server without TLS.
        login: the only user and password; None accepts mails from everyone.
        refuses: whether recipients are refused.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, *, context: ssl.SSLContext | None = None, login: tuple[str, str] | None = None, refuses: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.context = context
        self.login = login
        self.refuses = refuses
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.commands: list[str] = []
        self.arrived = threading.Condition()

    @property
    def address(self) -> str:
        """The address, as `host:port`."""
        return f"127.0.0.1:{self.server_address[1]}"

    def wait_for(self, count: int) -> list[EmailMessage]:
        """Return the mails when there are `count`."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.mails) >= count, 30), self.commands
            return list(self.mails)

    def wait_for_command(self, beginning: str) -> None:
        """Wait until a client has sent this command."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(each.startswith(beginning) for each in self.commands), 30)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that leave."""


class _Session(socketserver.BaseRequestHandler):
    server: SmtpServer

    @override
    def handle(self) -> None:
        self.recipients: list[str] = []
        self.is_in = self.server.login is None
        self.file = self.request.makefile("rb")
        try:
            self.serve()
        finally:
            self.file.close()
            self.request.close()

    def serve(self) -> None:
        """Answer commands until the client leaves."""
        self.say("220 test")
        for line in iter(self.file.readline, b""):
            command = line.decode().strip()
            with self.server.arrived:
                self.server.commands.append(command)
                self.server.arrived.notify_all()
            if not self.answer(command.partition(" ")[0].upper(), command):
                return

    def say(self, line: str) -> None:
        self.request.sendall(f"{line}\r\n".encode())

    def answer(self, verb: str, command: str) -> bool:
        """Answer one command; return whether the session goes on."""
        if verb == "EHLO":
            extensions = ["test", *(["STARTTLS"] if self.server.context else []), "AUTH PLAIN"]
            for each in extensions[:-1]:
                self.say(f"250-{each}")
            self.say(f"250 {extensions[-1]}")
        elif verb == "STARTTLS" and self.server.context:
            self.say("220 go on")
            self.file.close()
            plain, context = self.request, self.server.context
            self.request = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            self.file = self.request.makefile("rb")
            self.request.do_handshake()
            return self.follow()
        elif verb == "AUTH":
            given = base64.b64decode(command.split()[2]).decode().split("\0")[1:]
            self.is_in = tuple(given) == self.server.login
            self.say("235 welcome" if self.is_in else "535 no: " + given[1])
        elif verb == "DATA":
            self.take()
        elif verb == "RCPT" and (self.server.refuses or not self.is_in):
            self.say("550 no")
        else:
            if verb == "RCPT":
                self.recipients.append(command.partition(":")[2].strip("<>"))
            self.say("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"

    def follow(self) -> bool:
        """Answer the commands inside TLS."""
        for line in iter(self.file.readline, b""):
            command = line.decode().strip()
            with self.server.arrived:
                self.server.commands.append(f"TLS {command}")
            if not self.answer(command.partition(" ")[0].upper(), command):
                break
        return False

    def take(self) -> None:
        """Receive a mail."""
        self.say("354 send")
        lines = list(iter(self.file.readline, b".\r\n"))
        content = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        self.say("250 ok")
        with self.server.arrived:
            assert isinstance(mail, EmailMessage)
            self.server.mails.append(mail)
            self.server.recipients.append(self.recipients)
            self.server.arrived.notify_all()


@contextlib.contextmanager
def smtp_server(
    *, context: ssl.SSLContext | None = None, login: tuple[str, str] | None = None, refuses: bool = False
) -> Iterator[SmtpServer]:
    """Run a server in a thread."""
    with SmtpServer(context=context, login=login, refuses=refuses) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
