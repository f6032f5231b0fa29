"""Whatever the environment or the file holds, the loader answers with settings or with one-line problems."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ConfigError
from config.loader import load
from config.schema.base import walk
from config.schema.root import RootSchema
from config.settings import Secret
from config.variables import variable_of
from tests.support.configuration import MINIMAL

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

KNOWN = sorted({variable_of(known.path) for known in walk(RootSchema)})
PIECES = [
    "REGISTRY",
    "STORAGE",
    "HTTP",
    "HEADERS",
    "0",
    "1",
    "7",
    "FILE",
    "X-Foo",
    "",
    "LOG",
    "FIELDS",
    "AUTH",
    "NOTIFICATIONS",
    "ENDPOINTS",
    "OPTIONS",
    "REDIS",
    "MIDDLEWARE",
    "SEARCH",
    "BACKEND",
    "é",
    "\n",
]

names = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN).map(lambda name: name + "_FILE"),
    st.sampled_from(KNOWN).map(lambda name: name.rsplit("_", 1)[0]),
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda parts: "_".join(["REGISTRY", *parts])),
    st.sampled_from(["SEARCH_BACKEND", "SEARCH_BACKEND_MYSQL", "SEARCH_BACKEND_MYSQL_FILE"]),
)
values = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\0"), max_size=40),
    st.text(alphabet="[]{}:,&*!|>'\"%@`#-? \n01abc~.", max_size=20),
    st.sampled_from(["true", "5", "10s", "[a]", "{a: b}", "{a: {b: [1]}}", "inmemory", "/etc/hostname", "/", "\udcff"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config")
    (path / "minimal.yml").write_text(MINIMAL, encoding="utf-8")
    return path


def check(path: str, environ: Mapping[str, str]) -> None:
    lines = _lines(path, environ)
    assert lines
    assert all(line.isprintable() for line in lines)


def _lines(path: str, environ: Mapping[str, str]) -> Sequence[str]:
    try:
        loaded = load(path, environ=environ)
    except ConfigError as error:
        return error.problems
    return [*loaded.warnings, *loaded.notes, *(value.line() for value in loaded.effective)]


# Python warns about `[0||` in a regular expression of a mirror: a later version may read it as a union of sets.
@pytest.mark.filterwarnings("ignore:Possible (nested set|set):FutureWarning")
@settings(max_examples=150, deadline=None)
@given(environ=st.dictionaries(names, values, max_size=6))
def test_any_environment_gives_settings_or_problems(folder: Path, environ: dict[str, str]) -> None:
    check(str(folder / "minimal.yml"), environ)


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.text(alphabet="abhtp[]{}:,&*!|>'\"%@#-? \n01~<", max_size=60)))
def test_any_file_gives_settings_or_problems(folder: Path, text: str) -> None:
    path = folder / "any.yml"
    path.write_text(MINIMAL + text, encoding="utf-8", errors="replace")
    check(str(path), {})


SECRETS = ("REGISTRY_HTTP_SECRET", "REGISTRY_REDIS_PASSWORD", "SEARCH_BACKEND_MYSQL")
secrets = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=16, max_size=30)


@settings(max_examples=150, deadline=None)
@given(secret=secrets.filter(lambda text: text[0] not in "'\"|" and text.lower() != "null"))
def test_any_secret_is_accepted_and_never_shown(folder: Path, secret: str) -> None:
    path = str(folder / "minimal.yml")
    loaded, other = (
        load(path, environ=dict.fromkeys(SECRETS, text)) for text in (secret, "another one of 32 characters")
    )
    assert loaded.settings.http.secret == Secret(secret)
    assert loaded.settings.catalog.mysql_dsn == Secret(secret)
    # The output does not depend on the secret, so it reveals nothing about it.
    assert repr(loaded.settings) == repr(other.settings)
    assert loaded.effective == other.effective
