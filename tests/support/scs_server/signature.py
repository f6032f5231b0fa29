"""Verification of SCS signatures from the raw request, based on the protocol only."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote_plus, unquote_to_bytes

from tests.support.scs_server.errors import Refusal

_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-~./:")
_CLOCK_SKEW_SECONDS = 15 * 60


def escaped(path: bytes) -> str:
    """Return a path escaped as SCS signs it."""
    return "".join(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in path)


def parameters_of(query: str) -> dict[str, str]:
    """Parse a query; a parameter without a value gets an empty one."""
    pairs = [item.partition("=") for item in query.split("&") if item]
    return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}


def verify(method: str, target: str, headers: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Verify the signature of a request.

    Raises:
        Refusal: the sender is unknown, or the request was modified on the way.
    """
    path, _, query = target.partition("?")
    parameters = parameters_of(query)
    if "Signature" in parameters:
        access_key, signature, date = parameters["SOHUCSAccessKeyId"], parameters["Signature"], parameters["Expires"]
        if int(date) < time.time():
            raise Refusal(403, "AccessDenied", "the URL has expired")
    else:
        access_key, _, signature = headers.get("authorization", "").partition(":")
        if not signature or " " in access_key:
            raise Refusal(403, "AccessDenied", "the request is not signed")
        date = "" if "x-scs-date" in headers else _checked_date(headers.get("date", ""))
    if access_key not in keys:
        raise Refusal(403, "InvalidAccessKeyId", "no such access key")
    text = _text(method, path, parameters, headers, date)
    mac = hmac.new(keys[access_key].encode(), text.encode(), hashlib.sha1)
    if not hmac.compare_digest(base64.b64encode(mac.digest()).decode(), signature):
        raise Refusal(403, "SignatureDoesNotMatch", f"signed should have been {text!r}")


def _text(method: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str], date: str) -> str:
    is_presigned = "Signature" in parameters
    text = method.lower() + "\n"
    text += ("" if is_presigned else headers.get("content-md5", "")) + "\n"
    text += ("" if is_presigned else headers.get("content-type", "")) + "\n"
    text += date + "\n"
    for name in sorted(headers):
        if name.startswith("x-scs-") and not is_presigned:
            text += f"{name}:{headers[name]}\n"
    text += escaped(unquote_to_bytes(path))
    sub = [
        f"{name}={parameters[name]}" if parameters[name] else name for name in ("acl", "location") if name in parameters
    ]
    return text + ("?" + "&".join(sub) if sub else "")


def _checked_date(date: str) -> str:
    try:
        when = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal(403, "AccessDenied", f"not a date as the SDK writes it: {date!r}") from None
    if abs(when.timestamp() - time.time()) > _CLOCK_SKEW_SECONDS:
        raise Refusal(403, "RequestTimeTooSkewed", "the clocks differ too much")
    return date
