"""Small JSON bodies of requests that control the registry."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from core.errors import InvalidInputError, ManifestTooLargeError
from core.json_text import load_json
from entrypoints.http.connection.streaming import read_body

BODY_BYTES_MAX: Final = 4096
_SHOWN_MAX: Final = 64
_KINDS: Final[Mapping[type, str]] = {str: "a text", bool: "true or false", list: "a list of texts"}


async def read_document(request: web.Request, members: Mapping[str, type]) -> dict[str, Any]:
    """Return the members of the JSON object in a body.

    Only a body of type `application/json` is read: a browser asks for permission before a page of another origin sends
    one (CORS), but not before such a page sends a form.

    Args:
        request: the request.
        members: the type of each known member: text, boolean or list of texts. None of them is required.

    Raises:
        InvalidInputError: the body has another type, is too large, is no JSON object, or has a wrong member.
    """
    if request.content_type != "application/json":
        raise InvalidInputError("the request must have the Content-Type application/json")
    try:
        document = load_json(await read_body(request, limit=BODY_BYTES_MAX))
    except ManifestTooLargeError:
        raise InvalidInputError(f"the body is larger than {BODY_BYTES_MAX} bytes") from None
    except ValueError:
        raise InvalidInputError("the body is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidInputError("the body must be a JSON object")
    for name, value in document.items():
        if name not in members:
            raise InvalidInputError("unknown member in the body", detail={"member": name[:_SHOWN_MAX]})
        if not _is(value, members[name]):
            raise InvalidInputError(f"{name} must be {_KINDS[members[name]]}", detail={"member": name})
    return document


async def require_action(
    request: web.Request, action: str, members: Mapping[str, type] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the members of a body that requests this action (see `read_document`).

    Raises:
        InvalidInputError: as for `read_document`, or the body requests another action.
    """
    document = await read_document(request, {"action": str, **members})
    if document.pop("action", None) != action:
        raise InvalidInputError(f'the body must contain "action": "{action}"')
    return document


def _is(value: object, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, kind)
