"""Parsing of `Authorization` headers, and formatting of challenges (RFC 7235, 7617, 6750)."""

import base64
import binascii
import re
from collections.abc import Iterable

from core.ports.authenticator import CredentialsInvalidError


def split_header(authorization: str) -> tuple[str, str]:
    """Return the scheme, in lower case, and the credentials."""
    scheme, _, credentials = authorization.strip().partition(" ")
    return scheme.lower(), credentials.strip()


def parse_basic(authorization: str) -> tuple[str, str]:
    """Return the user name and the password of a `Basic` header.

    Raises:
        CredentialsInvalidError: the scheme is not Basic, or the header is malformed.
    """
    scheme, credentials = split_header(authorization)
    if scheme != "basic":
        raise CredentialsInvalidError("the scheme is not Basic")
    try:
        text = base64.b64decode(credentials.encode("ascii"), validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise CredentialsInvalidError("malformed Basic credentials") from None
    name, colon, password = text.partition(":")
    if not colon:
        raise CredentialsInvalidError("malformed Basic credentials")
    return name, password


def parse_bearer(authorization: str) -> str:
    """Return the token of a `Bearer` header.

    Raises:
        CredentialsInvalidError: the scheme is not Bearer, or the token is empty.
    """
    scheme, token = split_header(authorization)
    if scheme != "bearer" or not token:
        raise CredentialsInvalidError("the scheme is not Bearer, or there is no token")
    return token


def password_or_token(authorization: str | None) -> str:
    """Return the password of a `Basic` header or the token of a `Bearer` one; empty if there is neither."""
    if not authorization:
        return ""
    scheme, credentials = split_header(authorization)
    if scheme == "bearer":
        return credentials
    try:
        return parse_basic(authorization)[1]
    except CredentialsInvalidError:
        return ""


_UNQUOTABLE = re.compile(r"[^\x20-\x7e]")


def format_challenge(scheme: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return a challenge with its values as quoted strings; characters that a header cannot carry are dropped."""
    quoted = (
        f'{name}="{_UNQUOTABLE.sub("", value).replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in parameters
    )
    return f"{scheme} {','.join(quoted)}"
