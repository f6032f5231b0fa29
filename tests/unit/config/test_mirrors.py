"""`mirrors`: the keys of a mirror, and combinations that are refused."""

import pytest

from config.settings import MirrorSettings
from core.transfer.mirror_rules import Deletions, ReferrerCopies
from tests.support.configuration import MINIMAL, LoadText, problems_of

QUAY = "from: 'https://quay.io', repository: prometheus/prometheus, to: mirror/prometheus"


def mirrors_of(load_text: LoadText, *entries: str, more: str = "") -> tuple[MirrorSettings, ...]:
    lines = "".join(f"- {{{entry}}}\n" for entry in entries)
    return load_text(f"{MINIMAL}{more}mirrors:\n{lines}").settings.mirrors


def problems(load_text: LoadText, *entries: str, more: str = "") -> list[str]:
    lines = "".join(f"- {{{entry}}}\n" for entry in entries)
    return list(problems_of(load_text, f"{MINIMAL}{more}mirrors:\n{lines}"))


def test_a_mirror_has_rules_and_a_connection(load_text: LoadText) -> None:
    [mirror] = mirrors_of(
        load_text,
        f"name: prometheus, {QUAY}, tags: {{glob: ['v*'], semver: '>=2', latest: 5}}, every: 12h, deletes: follow, "
        "referrers: always, bytespersecond: 1000, username: robot, password: hunter2, ca: /ca.pem, timeout: {idle: 9s}",
    )
    assert (mirror.name, mirror.source, mirror.repository) == ("prometheus", "https://quay.io", "prometheus/prometheus")
    assert (mirror.to, mirror.every_seconds, mirror.bytes_per_second) == ("mirror/prometheus", 12 * 3600, 1000)
    assert (mirror.deletes, mirror.referrers) == (Deletions.FOLLOW, ReferrerCopies.ALWAYS)
    assert mirror.tags.choose(["v1.0.0", "v2.0.0", "2.0.0"]) == ["v2.0.0"]  # type: ignore[list-item]
    connection = mirror.connection
    assert (connection.urls, connection.username, connection.ca) == (("https://quay.io",), "robot", "/ca.pem")
    assert connection.idle_seconds == 9
    assert connection.password is not None
    assert connection.password.reveal() == "hunter2"
    assert "hunter2" not in repr(mirror)


def test_variables_set_the_password_of_a_mirror(load_text: LoadText) -> None:
    text = f"{MINIMAL}mirrors:\n- {{name: a, {QUAY}, username: robot}}\n"
    [mirror] = load_text(text, {"REGISTRY_MIRRORS_0_PASSWORD": "p: #"}).settings.mirrors
    assert mirror.password is not None
    assert mirror.password.reveal() == "p: #"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("from: 'https://quay.io'", "`mirrors[0].name` is missing"),
        ("name: a, repository: b, to: c", "`mirrors[0].from` is missing"),
        (f"name: A B, {QUAY}", "`mirrors[0].name` must consist of small letters"),
        ("name: a, from: 'https://u:hunter2@quay.io', repository: b, to: c", "`mirrors[0].from` must not contain"),
        ("name: a, from: 'https://quay.io', repository: b, to: C", "`mirrors[0].to` must be the name of a repository"),
        (f"name: a, {QUAY}, tags: {{semver: newest}}", "`mirrors[0].tags.semver` must be a range of versions"),
        (f"name: a, {QUAY}, tags: {{regex: '['}}", "`mirrors[0].tags.regex` must be a regular expression"),
        (f"name: a, {QUAY}, every: 0s", "`mirrors[0].every` "),
        (f"name: a, {QUAY}, platforms: [linux]", "must be an operating system and architecture"),
        (f"name: a, {QUAY}, platforms: [linux/amd64]", "`mirrors[0].platforms` needs `validation.manifests"),
        (f"name: a, {QUAY}, username: robot", "`mirrors[0].password` is missing"),
        (f"name: a, {QUAY}, tag: v1", "`mirrors[0].tag` is not a known key"),
    ],
)
def test_an_invalid_mirror_is_refused(load_text: LoadText, entry: str, problem: str) -> None:
    found = problems(load_text, entry)
    assert any(problem in each for each in found), found
    assert "hunter2" not in "".join(found)


def test_two_mirrors_of_one_name_are_refused(load_text: LoadText) -> None:
    [problem] = problems(load_text, f"name: a, {QUAY}", f"name: a, {QUAY}")
    assert "`mirrors[1].name` must differ from the names of other mirrors" in problem


@pytest.mark.parametrize(
    "proxy", ["remoteurl: 'https://quay.io'", "upstreams: [{prefix: mirror, urls: ['https://quay.io']}]"]
)
def test_a_mirror_of_a_cached_repository_is_refused(load_text: LoadText, proxy: str) -> None:
    [problem] = problems(load_text, f"name: a, {QUAY}", more=f"proxy: {{{proxy}}}\n")
    assert "`mirrors[0].to` must not be a repository of the pull-through cache" in problem


@pytest.mark.parametrize(
    ("indexes", "allows"),
    [
        ("{platforms: none}", True),
        ("{platforms: list, platformlist: [{os: linux, architecture: amd64}]}", True),
        ("{platforms: list, platformlist: [{os: linux, architecture: arm64}]}", False),
        ("{platforms: all}", False),
    ],
)
def test_platforms_need_a_policy_that_allows_missing_images(load_text: LoadText, indexes: str, *, allows: bool) -> None:
    entry, more = f"name: a, {QUAY}, platforms: [linux/amd64]", f"validation: {{manifests: {{indexes: {indexes}}}}}\n"
    if allows:
        assert mirrors_of(load_text, entry, more=more)[0].platforms == ("linux/amd64",)
    else:
        assert "validation.manifests.indexes.platforms" in problems(load_text, entry, more=more)[0]
