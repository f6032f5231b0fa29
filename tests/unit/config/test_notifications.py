"""`notifications`: what its keys mean, and which combinations are refused."""

import pytest

from config.container import event_endpoints
from config.container.graph import Container
from config.notifications import event_source, outbox_bounds, recorder_options
from config.settings import OutboxBackend
from core.model.events import EventAction
from core.notifications.envelope import EnvelopeType
from tests.support.configuration import MINIMAL, problems_of

ENDPOINT = "{name: a, url: 'http://a/'}"


@pytest.fixture
def notifications(load_text):
    return lambda text: load_text(f"{MINIMAL}notifications: {text}\n").settings.notifications


@pytest.fixture
def problem(load_text):
    def problem(text):
        [line] = problems_of(load_text, f"{MINIMAL}notifications: {text}\n")
        return line

    return problem


def test_zero_means_the_default(notifications):
    [endpoint] = notifications(
        "{endpoints: [{name: a, url: 'http://u', timeout: 0, threshold: 0, backoff: 0s}]}"
    ).endpoints
    assert (endpoint.timeout_seconds, endpoint.threshold, endpoint.backoff_seconds) == (1.0, 10, 1.0)


def test_disabled_endpoints_are_not_created(notifications):
    settings = notifications(
        "{endpoints: [{name: a, url: 'http://u', disabled: true},"
        " {name: b, url: 'http://u', headers: {Authorization: [hunter2]},"
        " threshold: 3, ignoredmediatypes: [m], ignore: {actions: [pull]}}]}"
    )
    [endpoint] = event_endpoints(settings)
    assert (endpoint.name, endpoint.threshold, endpoint.backoff_seconds) == ("b", 3, 1.0)
    assert not endpoint.wants(EventAction.PULL, "x")
    assert not endpoint.wants(EventAction.PUSH, "m")
    assert endpoint.wants(EventAction.PUSH, "x")
    assert "hunter2" not in repr(endpoint)


def test_names_of_enabled_endpoints_must_differ(notifications, problem):
    assert "`notifications.endpoints[1].name` must differ" in problem(f"{{endpoints: [{ENDPOINT}, {ENDPOINT}]}}")
    notifications(f"{{endpoints: [{ENDPOINT}, {{name: a, url: 'http://u', disabled: true}}]}}")


def test_name_fits_into_a_key(notifications, problem):
    assert "at most 64 bytes" in problem(f"{{endpoints: [{{name: {'ä' * 33}, url: 'http://u'}}]}}")
    notifications(f"{{endpoints: [{{name: {'ä' * 32}, url: 'http://u'}}]}}")


def test_path_means_local_and_local_needs_a_path(notifications, problem):
    assert notifications("{outbox: {path: /p}}").outbox.backend is OutboxBackend.LOCAL
    assert notifications("{outbox: {backend: memory, path: /p}}").outbox.backend is OutboxBackend.MEMORY
    assert "`notifications.outbox.path` is missing" in problem("{outbox: {backend: local}}")


def test_options_and_bounds_are_parsed(notifications):
    settings = notifications(
        "{events: {includereferences: true, version: v2}, outbox: {required: false, maxbytes: 2000000, maxage: 1h}}"
    )
    options = recorder_options(settings)
    assert (options.envelope, options.include_references, options.is_required) == (EnvelopeType.V2, True, False)
    bounds = outbox_bounds(settings.outbox)
    assert (bounds.bytes_max, bounds.age_max.total_seconds(), bounds.dead_age_max.days) == (2_000_000, 3600, 30)


@pytest.mark.parametrize(("addr", "ends"), [(":5000", ":5000"), ("[::1]:80", ":80"), ("/run/registry.sock", "")])
def test_source_is_the_machine_with_its_port(addr, ends):
    source = event_source(addr, lambda: "id")
    assert source["addr"].endswith(ends)
    assert ("/" in source["addr"], source["instanceID"]) == (False, "id")


@pytest.mark.parametrize("outbox", ["{}", "{path: /p}", "{backend: memory}"])
async def test_container_builds_the_parts_of_each_backend(load_text, outbox):
    text = f"version: 0.1\nstorage: inmemory\nnotifications: {{endpoints: [{ENDPOINT}], outbox: {outbox}}}\n"
    container = Container(settings=load_text(text).settings)
    assert container.events().wants(EventAction.PUSH)
    assert [each.name for each in container.notifier().stats().endpoints] == ["a"]
    assert (container.outbox_storage() is container.blob_storage()) == (outbox == "{}")
    assert (container.outbox_lifetime() is container.outbox_storage()) == (outbox != "{}")


@pytest.mark.parametrize(
    "url",
    [
        "nope",
        "host1:8000/registryNotifications",
        "${MY_ENDPOINT_URL}",
        "ftp://a/",
        "http://",
        "http://:80/",
        "http://a:0/",
        "http://a:99999/",
        "http://a b/",
        "http://[::1/",
        "https:/a/b",
        "//a/b",
    ],
)
def test_unusable_url_is_refused(notifications, problem, url):
    line = problem(f"{{endpoints: [{{name: a, url: '{url}'}}]}}")
    assert "`notifications.endpoints[0].url` must be a URL such as https://" in line
    assert notifications(f"{{endpoints: [{{name: a, url: '{url}', disabled: true}}]}}").endpoints[0].url == url


@pytest.mark.parametrize("url", ["http://a", "https://u:p@a.example:8443/x?y=z", "http://[::1]:80/", "HTTP://a_b/"])
def test_usable_url_is_accepted(notifications, url):
    assert notifications(f"{{endpoints: [{{name: a, url: '{url}'}}]}}").endpoints[0].url == url


@pytest.mark.parametrize(
    "url", ["ftp://hunter2:hunter2@a/", "nope?hunter2", "hunter2:hunter2@host", "ftp://a/?a=hunter2"]
)
def test_refused_url_shows_no_credentials(problem, url):
    assert "hunter2" not in problem(f"{{endpoints: [{{name: a, url: '{url}'}}]}}")
