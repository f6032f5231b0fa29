"""The filter that lets no further handshake begin."""

import errno
import select
import socket
from contextlib import ExitStack

import pytest

from entrypoints.http.connection.syn_filter import ignore_new_handshakes


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_handshake_after_the_filter_is_refused_once_the_socket_is_closed(family, host):
    with ExitStack() as stack:
        sock = stack.enter_context(socket.create_server((host, 0), family=family))
        address = sock.getsockname()
        before = stack.enter_context(socket.create_connection(address[:2]))
        ignore_new_handshakes(sock)
        late = stack.enter_context(socket.socket(family))
        late.settimeout(0)
        with pytest.raises(BlockingIOError):
            late.connect(address)
        sock.settimeout(0)
        accepted = stack.enter_context(sock.accept()[0])
        with pytest.raises(BlockingIOError):
            sock.accept()
        # The accepted connection works, also its end.
        before.sendall(b"request")
        before.shutdown(socket.SHUT_WR)
        assert (accepted.recv(100), accepted.recv(100)) == (b"request", b"")
        accepted.sendall(b"response")
        assert before.recv(100) == b"response"
        sock.close()
        # The kernel sends the first segment again after a second.
        assert select.select([], [late], [], 60)[1]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
