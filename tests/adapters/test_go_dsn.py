"""DSNs of the Go driver, read as it reads them; none of them ever shows in a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog_index.go_dsn import (
    DEFAULT_SOCKET,
    DsnInvalidError,
    MySqlAddress,
    Secret,
    TlsMode,
    parse_go_dsn,
)


def test_default_dsn_of_the_seed_is_parsed_completely():
    address = parse_go_dsn("root:root@tcp(127.0.0.1:3306)/domeos?loc=Local&parseTime=true")
    assert address == MySqlAddress(user="root", password=Secret("root"), host="127.0.0.1", port=3306, database="domeos")


@pytest.mark.parametrize(
    ("dsn", "host", "port"),
    [
        ("u:p@tcp(db.example.com:3307)/d", "db.example.com", 3307),
        ("u:p@tcp(db.example.com)/d", "db.example.com", 3306),
        ("u:p@tcp(db.example.com:)/d", "db.example.com", 3306),
        ("u:p@tcp([::1]:3307)/d", "::1", 3307),
        ("u:p@tcp([fe80::1%25eth0])/d", "fe80::1%25eth0", 3306),
        ("u:p@tcp/d", "127.0.0.1", 3306),
        ("u:p@tcp()/d", "127.0.0.1", 3306),
        ("u:p@/d", "127.0.0.1", 3306),
        ("u@/d", "127.0.0.1", 3306),
        ("/d", "127.0.0.1", 3306),
        ("u:p@(10.0.0.1:3308)/d", "10.0.0.1", 3308),
    ],
)
def test_host_and_port_are_parsed(dsn, host, port):
    address = parse_go_dsn(dsn)
    assert (address.host, address.port, address.socket) == (host, port, None)


@pytest.mark.parametrize(
    ("dsn", "socket"),
    [("u:p@unix(/run/mysqld/mysqld.sock)/d", "/run/mysqld/mysqld.sock"), ("u:p@unix/d", DEFAULT_SOCKET)],
)
def test_socket_is_parsed(dsn, socket):
    address = parse_go_dsn(dsn)
    assert (address.socket, address.place) == (socket, socket)


@pytest.mark.parametrize(
    "password", ["p@ss", "a:b", "a/b", "p@ss:w/rd", "@", "/", ":", "", "(x)", "ü", "a?b=c", "tcp(x)/y@z"]
)
def test_password_may_hold_separators(password):
    address = parse_go_dsn(f"user:{password}@tcp(host:1)/db?loc=Local")
    assert (address.user, address.password.reveal(), address.host) == ("user", password, "host")


@given(password=st.text(max_size=30).filter(lambda text: text == text.strip()))
def test_any_password_is_parsed_and_hidden(password):
    address = parse_go_dsn(f"user:{password}@tcp(host:1)/db")
    assert address.password.reveal() == password
    assert repr(address) == repr(parse_go_dsn("other:x@tcp(host:1)/elsewhere"))


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("true", TlsMode.REQUIRED),
        ("TRUE", TlsMode.REQUIRED),
        ("1", TlsMode.REQUIRED),
        ("false", TlsMode.OFF),
        ("0", TlsMode.OFF),
        ("skip-verify", TlsMode.UNVERIFIED),
        ("preferred", TlsMode.PREFERRED),
    ],
)
def test_tls_is_parsed(value, mode):
    assert parse_go_dsn(f"/d?tls={value}").tls is mode


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("0", 5)]
)
def test_timeout_is_a_go_duration(text, seconds):
    assert parse_go_dsn(f"/d?timeout={text}").connect_seconds == pytest.approx(seconds)


def test_timeout_of_a_statement_is_that_of_writing_and_reading():
    assert parse_go_dsn("/d?readTimeout=3s&writeTimeout=2s").statement_seconds == 5
    assert parse_go_dsn("/d").statement_seconds == 10


def test_values_and_database_are_percent_decoded():
    address = parse_go_dsn("/my%2Fdb?loc=Asia%2FShanghai&timeout=1%6ds")
    assert (address.database, address.connect_seconds) == ("my/db", 0.001)


def test_parameters_of_the_go_driver_are_accepted_silently():
    assert parse_go_dsn("/d?charset=utf8&collation=utf8_bin&parseTime=true&allowOldPasswords=1&x").warnings == ()


def test_unknown_parameters_are_warned_about_without_values():
    address = parse_go_dsn("/d?time_out=SECRET&sql_mode=SECRET")
    assert address.warnings == (
        "the DSN's parameter 'time_out' is unknown and has no effect; did you mean timeout?",
        "the DSN's parameter 'sql_mode' is unknown and has no effect",
    )


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("", "needs a /"),
        ("hunter2", "needs a /"),
        ("hunter2:hunter2@tcp(h:1)", "needs a /"),
        ("hunter2:hunter2@tcp(h:1)/", "names no database"),
        ("hunter2:hunter2@tcp(h:1/d", "must end with"),
        ("hunter2:hunter2@tcp(h:1)/d?loc=Asia/Shanghai", "as %2F"),
        ("hunter2:hunter2@tcp(h:hunter2)/d", "must be host:port"),
        ("hunter2:hunter2@tcp(::1)/d", r"in \[ \]"),
        ("hunter2:hunter2@tcp(h:70000)/d", "between 1 and 65535"),
        ("hunter2:hunter2@tcp(h:0)/d", "between 1 and 65535"),
        ("hunter2:hunter2@hunter2/d", "network must be"),
        ("hunter2:hunter2@/d?tls=hunter2", "tls must be"),
        ("hunter2:hunter2@/d?timeout=hunter2", "timeout must be a duration"),
        ("hunter2:hunter2@/d?readTimeout=5", "readTimeout must be a duration"),
    ],
)
def test_error_of_a_broken_dsn_does_not_quote_it(dsn, message):
    with pytest.raises(DsnInvalidError, match=message) as caught:
        parse_go_dsn(dsn)
    assert "hunter2" not in str(caught.value)


def test_repr_and_format_hide_user_and_password():
    address = parse_go_dsn("hunter1:hunter2@tcp(h:1)/hunter3")
    for text in (repr(address), str(address), f"{address.password}", repr(address.password)):
        assert "hunter" not in text
