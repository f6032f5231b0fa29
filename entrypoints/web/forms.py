"""The forms of the page: bounded before they are read."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from core.errors import InvalidInputError, ManifestTooLargeError
from entrypoints.http.connection.streaming import read_body

FORM_BYTES_MAX: Final = 256 * 1024
FIELDS_MAX: Final = 1_100
"""Enough for every tag of the largest page."""
TOKEN: Final = "form_token"  # noqa: S105 - the name of a field
"""The field that every form contains (`Sessions.form_token`)."""


async def read_form(request: web.Request) -> Mapping[str, Sequence[str]]:
    """Return the fields of a form, each with its values in order.

    Raises:
        InvalidInputError: the body is no form, or too large.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise InvalidInputError("the request must be a form")
    try:
        body = await read_body(request, limit=FORM_BYTES_MAX)
        return parse_qs(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=FIELDS_MAX)
    except ManifestTooLargeError:
        raise InvalidInputError(f"the form is larger than {FORM_BYTES_MAX} bytes") from None
    except ValueError:
        raise InvalidInputError("the form cannot be read") from None
