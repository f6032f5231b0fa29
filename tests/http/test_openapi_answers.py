"""Each operation of `docs/openapi.yaml` is called on the running application, and each answer is compared with it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest

from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from config.settings import Settings, StorageSettings
from core.model import media_types
from core.model.access import MEMBERS_ONLY
from core.model.digest import Digest
from entrypoints.http.routes import match
from tests.http.conftest import SECRET, Api
from tests.support.api_calls import (
    Call,
    documented_calls,
    documented_values,
    hostile_calls,
    violates,
    with_documented_body,
)
from tests.support.content import descriptor, image_manifest
from tests.support.openapi import Operation, all_operations, differences

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME, TAG, LAYER = "team/app", "v1", b"layer"
IMAGE = image_manifest(b"{}", [LAYER])
SIGNATURE = image_manifest(b"{}", [], subject=descriptor(IMAGE, media_types.OCI_MANIFEST))
OPERATIONS = list(all_operations())
IGNORED_VALUES = {"ns", "mount", "from"}
"""Parameters whose invalid values are ignored: there are no upstreams, and a mount that fails begins an upload."""
PUBLIC = {"check", "checkByHead", "getToken", "getTokenByHead", "pingV1"}
"""Operations that have rules of their own for callers without credentials."""


async def fill(api: Api) -> None:
    """Store an image with a signature."""
    for content in (b"{}", LAYER):
        await api.push_blob(NAME, content)
    await api.push_manifest(NAME, TAG, IMAGE, media_types.OCI_MANIFEST)
    await api.push_manifest(NAME, Digest.of(SIGNATURE), SIGNATURE, media_types.OCI_MANIFEST)


async def upload(api: Api, call: Call) -> Call:
    """Begin the upload that a call continues."""
    async with api.request("POST", f"/v2/{NAME}/blobs/uploads/") as response:
        location = response.headers["Location"]
    path, _, state = location.partition("?_state=")
    query = {**call.query, "_state": unquote(state)}
    return replace(call, path={**call.path, "uuid": path.rpartition("/")[2]}, query=query)


async def last_bytes(api: Api, call: Call) -> Call:
    call = await upload(api, call)
    return replace(call, query={**call.query, "digest": Digest.of(b"new")}, body=b"new")


async def manifest(_api: Api, call: Call) -> Call:
    headers = {"Content-Type": media_types.OCI_MANIFEST}
    return replace(call, path={**call.path, "reference": "v2"}, headers=headers, body=IMAGE)


async def image(_api: Api, call: Call) -> Call:
    return replace(call, path={**call.path, "digest": Digest.of(IMAGE)})


async def entry(api: Api, call: Call) -> Call:
    """Delete the tag, which the call can then restore."""
    async with api.request("DELETE", f"/v2/{NAME}/manifests/{TAG}") as response:
        assert response.status == 202
    async with api.request("GET", f"/v2/{NAME}/_sohu/registry/trash") as response:
        [deleted] = (await response.json())["entries"]
    return replace(call, path={**call.path, "entry": deleted["entry"]})


async def user(_api: Api, call: Call) -> Call:
    return replace(call, headers={"Authorization": "Basic YTpi"})


PREPARE: dict[str, Callable[[Api, Call], Awaitable[Call]]] = {
    "getUpload": upload,
    "describeUpload": upload,
    "appendUpload": upload,
    "cancelUpload": upload,
    "finishUpload": last_bytes,
    "putManifest": manifest,
    "listReferrers": image,
    "restoreEntry": entry,
    "restoreRepositoryEntry": entry,
    "discardEntry": entry,
    "getToken": user,
    "getTokenByHead": user,
}
"""The content that an operation needs besides that of `fill`, by `operationId`."""
VALUES = {"name": NAME, "reference": TAG, "tag": TAG, "digest": Digest.of(LAYER)}
"""Values of the parameters of paths; other parameters need an example in the document."""


@dataclass
class Checked:
    """Sends calls and collects the differences from the document."""

    api: Api
    operation: Operation

    def __post_init__(self) -> None:
        self.problems: dict[str, Call] = {}
        """The first call that shows each difference."""
        self.statuses: set[int] = set()

    async def send(self, call: Call, *, is_documented: bool) -> None:
        options: dict[str, Any] = {"headers": call.headers, "data": call.body}
        async with self.api.session.request(
            self.operation.method, call.url(self.api.root), allow_redirects=False, **options
        ) as response:
            body = await response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.statuses |= {response.status} if is_documented else set()
        found = [f"status {response.status}"] if response.status >= 500 else []
        if is_documented or self._is_same_resource(call):
            found += differences(self.operation, response.status, headers, body)
            found += [] if response.status >= 400 else self._accepted(call)
        self.problems = dict.fromkeys(found, call) | self.problems

    def _is_same_resource(self, call: Call) -> bool:
        """Whether a call with unusual values still has the path of the operation."""
        path = unquote(call.url("").raw_path)
        expected, target = match(self.operation.path), match(path)
        # A path with `//` is redirected.
        return "//" not in path and target is not None and expected is not None and target.resource is expected.resource

    def _accepted(self, call: Call) -> Sequence[str]:
        """Return the parameters whose invalid values were accepted."""
        sent = {**call.path, **call.query}
        return [
            f"the invalid value of `{parameter['name']}` was accepted"
            for parameter in self.operation.parameters
            if parameter["name"] not in IGNORED_VALUES
            # An empty value counts as an absent one.
            and (value := sent.get(parameter["name"]))
            and violates(parameter, value)
        ]


def first_call(operation: Operation) -> Call:
    path = {}
    for parameter in operation.parameters:
        if parameter["in"] == "path":
            name = parameter["name"]
            values = documented_values(parameter)
            path[name] = str(VALUES.get(name) or (values[0] if values else f"no-{name}"))
    return with_documented_body(Call(operation, path=path))


@pytest.fixture
def start_for(start: Callable[..., Awaitable[Api]]) -> Callable[[], Awaitable[Api]]:
    """Start a registry that accepts any user, and that is its own token server."""

    async def start_one() -> Api:
        inner = SillyAuthenticator(realm="r", service="s")

        authenticator = LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: datetime.now(UTC))
        settings = Settings(storage=StorageSettings())
        api = await start(settings, authenticator=authenticator, policy=MEMBERS_ONLY)
        api.session.headers["Authorization"] = "Basic YTpi"
        return api

    return start_one


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_answers_are_as_documented(operation: Operation, start_for: Callable[[], Awaitable[Api]]) -> None:
    api = await start_for()
    await fill(api)
    call = first_call(operation)
    if operation.id in PREPARE:
        call = await PREPARE[operation.id](api, call)
    checked = Checked(api, operation)
    for each in documented_calls(call):
        await checked.send(each, is_documented=True)
    for each in hostile_calls(call):
        await checked.send(each, is_documented=False)
    assert not checked.problems, "\n".join(f"{text}: {call}" for text, call in checked.problems.items())
    assert checked.statuses & operation.successes, f"no call succeeded, see `PREPARE`: {checked.statuses}"


async def test_callers_without_credentials_get_nothing(start_for: Callable[[], Awaitable[Api]]) -> None:
    api = await start_for()
    await fill(api)
    calls = [first_call(operation) for operation in OPERATIONS if operation.id not in PUBLIC]
    del api.session.headers["Authorization"]
    for call in calls:
        checked = Checked(api, call.operation)
        await checked.send(call, is_documented=True)
        assert (checked.statuses, checked.problems) == ({401}, {}), call


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS if match(operation.path)}))
async def test_other_methods_are_refused_with_the_documented_ones(
    path: str, start_for: Callable[[], Awaitable[Api]]
) -> None:
    api = await start_for()
    [operation, *others] = [each for each in OPERATIONS if each.path == path]
    call = first_call(operation)
    async with api.session.request("PROPFIND", call.url(api.root)) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        assert response.status == 405
        assert differences(operation, 405, headers, await response.read()) == []
    assert set(headers["allow"].split(", ")) == {each.method for each in (operation, *others)}


def example(**changes: Any) -> list[str]:
    [operation] = [each for each in OPERATIONS if each.id == "listTags"]
    answer = {"status": 200, "headers": {"content-type": "application/json"}, "body": b'{"name":"a","tags":[]}'}
    return differences(operation, **{**answer, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"status": 202}, "status 202"),
        ({"headers": {"content-type": "text/html"}}, "'text/html'"),
        ({"headers": {"content-type": "application/json", "x-new": "1"}}, "x-new"),
        ({"body": b'{"name":"a"}'}, "'tags' is a required property"),
        ({"body": b'{"name":"a","tags":["/"]}'}, "$.tags[0]"),
        ({"body": b'{"name":"a","tags":[],"more":1}'}, "'more' was unexpected"),
        ({"status": 404, "body": b'{"errors":[{"code":"NEW","message":""}]}'}, "'NEW' is not one of"),
    ],
)
def test_differences_from_the_document_are_found(changes: dict[str, Any], expected: str) -> None:
    """The tests above must not pass because they find nothing."""
    found = example(**changes)
    assert (len(found), expected in "".join(found)) == (bool(expected), True)
