"""Formats and fields of log lines; clients cannot forge a line."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.json_schema import describe_file
from config.logging import ACCESS_LOGGER, configure_logging, request_id_variable, trace_id_variable
from config.settings import AccessLogFormat, LogFormatter, LogLevel, LogSettings, Secret
from tests.support.configuration import MINIMAL, LoadText, problems_of

EVENTS = logging.getLogger("test.events")
ACCESS = logging.getLogger(ACCESS_LOGGER)
REQUEST = {
    "http.request.id": "r-1",
    "http.request.method": "GET",
    "http.request.uri": "/v2/",
    "http.request.remoteaddr": "192.0.2.1",
    "http.request.useragent": 'skopeo/1 "x"',
    "http.request.referer": "",
    "http.version": "HTTP/1.1",
    "http.response.status": 200,
    "http.response.written": 2,
    "http.response.duration": 0.0125,
}


class Logs:
    """Both logs, in memory."""

    def __init__(self) -> None:
        self.stderr = io.StringIO()
        self.stdout = io.StringIO()

    def configure(self, **changes: object) -> "Logs":
        configure_logging(LogSettings(**changes), stderr=self.stderr, stdout=self.stdout)  # type: ignore[arg-type]
        return self

    def lines(self) -> list[str]:
        return self.stderr.getvalue().split("\n")[:-1]

    def access_lines(self) -> list[str]:
        return self.stdout.getvalue().split("\n")[:-1]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Set up both logs in memory, and bring back what pytest had set up."""
    loggers = [logging.getLogger(), ACCESS, logging.getLogger("botocore")]
    before = [(each, list(each.handlers), each.level, each.propagate) for each in loggers]
    yield Logs()
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def test_text_lines_are_key_value_pairs(logs: Logs) -> None:
    logs.configure(fields={"service": "registry"})
    EVENTS.warning("catalog is %s", "behind", extra={"names": 3, "why": 'a "b"'})
    [line] = logs.lines()
    pattern = r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z level=warning msg="catalog is behind" '
    assert re.fullmatch(pattern + r'service=registry names=3 why="a \\"b\\""', line)


def test_json_lines_have_the_names_of_go(logs: Logs) -> None:
    logs.configure(formatter=LogFormatter.JSON, fields={"service": "registry"})
    EVENTS.error("broken", extra={"count": 3})
    [line] = logs.lines()
    document = json.loads(line)
    assert document.pop("time").endswith("Z")
    assert document == {"level": "error", "msg": "broken", "service": "registry", "count": 3}


def test_logstash_lines_have_the_names_of_logstash(logs: Logs) -> None:
    logs.configure(formatter=LogFormatter.LOGSTASH)
    EVENTS.info("hello", extra={"@version": "mine"})
    document = json.loads(logs.lines()[0])
    assert document.pop("@timestamp").endswith("Z")
    assert document == {"@version": "1", "level": "info", "message": "hello", "fields.@version": "mine"}


def test_every_line_of_a_request_has_its_id(logs: Logs) -> None:
    logs.configure()
    token = request_id_variable.set("abc-1")
    EVENTS.info("inside")
    request_id_variable.reset(token)
    EVENTS.info("outside")
    inside, outside = logs.lines()
    assert inside.endswith(" http.request.id=abc-1")
    assert "http.request.id" not in outside


def test_every_line_of_a_request_has_its_trace(logs: Logs) -> None:
    logs.configure(formatter=LogFormatter.JSON)
    token = trace_id_variable.set("4bf92f3577b34da6a3ce929d0e0e4736")
    EVENTS.info("inside")
    trace_id_variable.reset(token)
    EVENTS.info("outside")
    inside, outside = map(json.loads, logs.lines())
    assert inside["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "trace_id" not in outside


def test_bytes_that_are_no_text_make_valid_json(logs: Logs) -> None:
    logs.configure(formatter=LogFormatter.JSON)
    EVENTS.info("x", extra={"agent": b"\xff\xfe".decode(errors="surrogateescape")})
    [line] = logs.lines()
    assert json.loads(line)["agent"] == "\\udcff\\udcfe"


def test_level_of_one_logger_can_change_for_a_while(logs: Logs) -> None:
    below = logging.getLogger("test.events.below")
    logs.configure(levels={"test.events": LogLevel.DEBUG})
    below.debug("seen")
    logging.getLogger("test.others").debug("not seen")
    logs.configure(levels={"test.events": LogLevel.ERROR})
    below.warning("not seen")
    logs.configure()
    below.debug("not seen")
    assert [line.split("msg=")[1] for line in logs.lines()] == ["seen"]


@pytest.mark.parametrize("text", ["INFO", "Info", "info", "iNFO"])
def test_levels_are_read_in_any_case(load_text: LoadText, text: str) -> None:
    """As in distribution, which lowers them."""
    for line in (f"log: {{level: {text}}}", f"loglevel: {text}", f"log: {{levels: {{a: {text}}}}}"):
        log = load_text(f"{MINIMAL}{line}\n").settings.log
        assert (log.level, log.levels.get("a", LogLevel.INFO)) == (LogLevel.INFO, LogLevel.INFO)
    assert load_text(MINIMAL, {"REGISTRY_LOG_LEVEL": text}).settings.log.level is LogLevel.INFO
    assert "must be one of" in problems_of(load_text, f"{MINIMAL}log: {{level: {text}X}}\n")[0]


def test_levels_are_read_in_any_case_from_json_too() -> None:
    enum = describe_file()["properties"]["log"]["properties"]["level"]["enum"]
    assert {"debug", "INFO", "Warn"} <= set(enum)


def test_levels_of_loggers_are_read(load_text: LoadText) -> None:
    text = MINIMAL + "log: {levels: {core.registry.catalog: debug}, accesslog: {format: json}}\n"
    loaded = load_text(text, {"REGISTRY_LOG_LEVELS_ENTRYPOINTS": "error"})
    assert loaded.settings.log.levels == {"core.registry.catalog": LogLevel.DEBUG, "entrypoints": LogLevel.ERROR}
    assert loaded.settings.log.access_log_format is AccessLogFormat.JSON


@pytest.mark.parametrize(("name", "level"), [("core", "loud"), ("botocore.auth", "debug"), ("redis", "info")])
def test_unknown_levels_are_refused(load_text: LoadText, name: str, level: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + f"log: {{levels: {{{name}: {level}}}}}\n")
    assert "log.levels" in problem
    assert name in problem


@pytest.mark.parametrize(
    ("level", "seen"),
    [(LogLevel.DEBUG, 4), (LogLevel.INFO, 3), (LogLevel.WARN, 2), (LogLevel.ERROR, 1)],
)
def test_levels_drop_less_severe_lines(logs: Logs, level: LogLevel, seen: int) -> None:
    logs.configure(level=level)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        EVENTS.log(severity, "x")
    assert len(logs.lines()) == seen


def test_sdks_do_not_log_signatures_even_for_debugging(logs: Logs) -> None:
    logs.configure(level=LogLevel.DEBUG)
    logging.getLogger("botocore.auth").debug("Signature: hunter2")
    assert logs.lines() == []


def test_tracebacks_stay_on_their_line(logs: Logs) -> None:
    logs.configure()
    try:
        int("x\ny")
    except ValueError:
        EVENTS.exception("failed")
    [line] = logs.lines()
    assert "error=ValueError" in line
    assert "\\nTraceback" not in line
    assert "Traceback" in line


def test_callers_are_named_when_asked(logs: Logs) -> None:
    logs.configure(report_caller=True)
    EVENTS.info("x")
    assert "func=test_logging.test_callers_are_named_when_asked file=test_logging.py:" in logs.lines()[0]


@pytest.mark.parametrize("formatter", LogFormatter)
def test_secrets_in_lines_are_hidden(logs: Logs, formatter: LogFormatter) -> None:
    logs.configure(formatter=formatter)
    EVENTS.info("secret %s", Secret("hunter2"), extra={"key": Secret("hunter2")})
    assert "hunter2" not in logs.stderr.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(text=st.text(), formatter=st.sampled_from(LogFormatter))
def test_line_cannot_be_forged(logs: Logs, text: str, formatter: LogFormatter) -> None:
    fresh = Logs().configure(formatter=formatter)
    EVENTS.info("%s", text, extra={"field": text})
    ACCESS.info("x", extra=REQUEST | {"http.request.useragent": text, "http.request.uri": text})
    for line in (fresh.stderr.getvalue(), fresh.stdout.getvalue()):
        assert line.endswith("\n")
        assert line[:-1].isprintable()


def test_text_values_cannot_pose_as_fields(logs: Logs) -> None:
    logs.configure()
    EVENTS.info('x" level=error msg="y', extra={"a": "b c=d"})
    assert re.search(r'level=info msg="x\\" level=error msg=\\"y" a="b c=d"$', logs.lines()[0])


def test_access_lines_are_combined_format(logs: Logs) -> None:
    logs.configure()
    ACCESS.info("GET /v2/ 200", extra=REQUEST)
    [line] = logs.access_lines()
    assert logs.lines() == []
    moment = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
    rest = r' "GET /v2/ HTTP/1\.1" 200 2 "-" "skopeo/1 \\"x\\"" "r-1" 0\.012500'
    assert re.fullmatch(r"192\.0\.2\.1 - - " + moment + rest, line)


@pytest.mark.parametrize("field", ["http.request.method", "http.request.uri", "http.request.referer", "auth.user.name"])
@pytest.mark.parametrize(
    ("text", "shown"), [('a"b', r"a\"b"), ("a\nb", r"a\nb"), ("a\\b", r"a\\b"), ("é", "é"), ("", "-")]
)
def test_each_field_of_a_combined_line_is_escaped(logs: Logs, field: str, text: str, shown: str) -> None:
    logs.configure()
    ACCESS.info("x", extra=REQUEST | {"http.request.useragent": "z"} | {field: "MARK"})
    ACCESS.info("x", extra=REQUEST | {"http.request.useragent": "z"} | {field: text})
    marked, line = (re.sub(r"\[.*?\]", "", each) for each in logs.access_lines())
    assert line == marked.replace("MARK", shown)


def test_access_lines_follow_a_json_format(logs: Logs) -> None:
    logs.configure(formatter=LogFormatter.JSON)
    ACCESS.info("GET /v2/ 200", extra=REQUEST)
    assert json.loads(logs.access_lines()[0])["http.response.status"] == 200


@pytest.mark.parametrize("formatter", LogFormatter)
def test_access_format_can_be_chosen_beside_any_other(logs: Logs, formatter: LogFormatter) -> None:
    logs.configure(formatter=formatter, access_log_format=AccessLogFormat.COMBINED)
    ACCESS.info("GET /v2/ 200", extra=REQUEST)
    logs.configure(formatter=formatter, access_log_format=AccessLogFormat.JSON, fields={"service": "registry"})
    ACCESS.info("GET /v2/ 200", extra=REQUEST)
    logs.configure(formatter=formatter, access_log_format=AccessLogFormat.LOGSTASH)
    ACCESS.info("GET /v2/ 200", extra=REQUEST)
    combined, plain, logstash = logs.access_lines()
    assert combined.startswith("192.0.2.1 - - [")
    assert json.loads(plain)["service"] == "registry"
    assert json.loads(logstash)["@version"] == "1"


def test_access_log_can_be_disabled(logs: Logs) -> None:
    logs.configure(access_log_disabled=True)
    ACCESS.info("x", extra=REQUEST)
    assert not ACCESS.isEnabledFor(logging.INFO)
    assert logs.access_lines() == []


def test_second_setup_replaces_the_first(logs: Logs) -> None:
    logs.configure(level=LogLevel.DEBUG).configure(level=LogLevel.INFO)
    EVENTS.info("once")
    EVENTS.debug("not at all")
    assert len(logs.lines()) == 1
