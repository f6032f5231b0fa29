"""XML of requests and answers, in bounded memory."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from html import escape
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from adapters.blob_storage.s3.errors import InvalidAnswerError

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum size of an answer: a thousand keys of 1,024 bytes, each escaped as three or five, take 3 to 5 MiB."""
_MARKS_MAX: Final = 200_000
"""Maximum number of tags, and of equals signs, so of attributes: a thousand entries have less than 20,000 tags.

As objects they take 30 MiB at most; the longest answer full of attributes would take 200 MiB and three seconds.
"""
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


def batch_of_keys(keys: Iterable[str]) -> bytes:
    """Return the body of DeleteObjects."""
    objects = "".join([f"<Object><Key>{_escaped(key)}</Key></Object>" for key in keys])
    return f'<Delete xmlns="{_NAMESPACE}">{objects}<Quiet>false</Quiet></Delete>'.encode()


def list_of_parts(parts: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the body of CompleteMultipartUpload; each part has its fields in order."""
    elements = [
        f"<Part>{''.join([f'<{name}>{_escaped(str(value))}</{name}>' for name, value in part.items()])}</Part>"
        for part in parts
    ]
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{"".join(elements)}</CompleteMultipartUpload>'.encode()


def _escaped(text: str) -> str:
    # A parser reads a line break that is written as such as another one.
    return escape(text, quote=False).replace("\r", "&#xD;").replace("\n", "&#xA;")


def read_document(content: bytes) -> ET.Element:
    """Parse the XML of an answer.

    Raises:
        InvalidAnswerError: it is not XML, has a document type (whose entities may expand), or is too long.
    """
    if len(content) > ANSWER_BYTES_MAX or max(content.count(b"<"), content.count(b"=")) > _MARKS_MAX:
        raise InvalidAnswerError("the answer is too long")
    try:
        # As text, so that no declaration can choose an encoding in which the next line finds nothing.
        text = content.decode("utf-8-sig").lstrip()
        if "<!DOCTYPE" in text:
            raise InvalidAnswerError("the answer has a document type")
        return ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise InvalidAnswerError(f"the answer is not valid XML: {error}") from error


def name_of(element: ET.Element) -> str:
    """Return a tag without the namespace, which not every store writes."""
    return element.tag.rpartition("}")[2]


def fields_of(element: ET.Element) -> dict[str, Any]:
    """Return the texts of the elements directly below an element, by name."""
    return {name_of(child): child.text or "" for child in element}


def listing(root: ET.Element) -> dict[str, Any]:
    """Return the fields of a listing of objects.

    Raises:
        InvalidAnswerError: it is none, or an entry lacks a field.
    """
    if name_of(root) != "ListBucketResult":
        raise InvalidAnswerError("the answer is not a listing")
    answer: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
    for element in root:
        name = name_of(element)
        if name in {"Contents", "CommonPrefixes"}:
            answer[name].append(fields_of(element))
        elif name in {"EncodingType", "IsTruncated", "NextMarker"}:
            answer[name] = element.text or ""
    decode: Callable[[str], str] = unquote_plus if answer.get("EncodingType") == "url" else str
    try:
        for entry in answer["Contents"]:
            entry["Key"] = decode(entry["Key"])
            entry["LastModified"] = moment_of(entry["LastModified"])
            entry["Size"] = int(entry["Size"])
        for entry in answer["CommonPrefixes"]:
            entry["Prefix"] = decode(entry["Prefix"])
    except (KeyError, ValueError) as error:
        raise InvalidAnswerError(f"an entry of the listing has no valid {error}") from error
    answer["NextMarker"] = decode(answer.get("NextMarker", ""))
    answer["IsTruncated"] = answer.get("IsTruncated") == "true"
    return answer


def listing_of_uploads(root: ET.Element) -> dict[str, Any]:
    """Return the fields of a listing of uploads; another document has none.

    Raises:
        InvalidAnswerError: an upload lacks a field.
    """
    answer: dict[str, Any] = {"Uploads": []}
    for element in root:
        name = name_of(element)
        if name == "Upload":
            upload = fields_of(element)
            if not upload.get("Key") or not upload.get("UploadId"):
                raise InvalidAnswerError("an upload of the listing has no key or no id")
            if "Initiated" in upload:
                upload["Initiated"] = moment_of(upload["Initiated"])
            answer["Uploads"].append(upload)
        elif name in {"NextKeyMarker", "NextUploadIdMarker"}:
            answer[name] = element.text or ""
        elif name == "IsTruncated":
            answer[name] = element.text == "true"
    return answer


def refused_keys(root: ET.Element) -> dict[str, Any]:
    """Return the fields of the answer to DeleteObjects: the objects that were not deleted.

    Raises:
        InvalidAnswerError: an error names no key.
    """
    errors = [fields_of(element) for element in root if name_of(element) == "Error"]
    if not all("Key" in error for error in errors):
        raise InvalidAnswerError("an object that was not deleted has no key")
    return {"Errors": errors}


@lru_cache(maxsize=4_096)
def moment_of(text: str) -> datetime:
    """Parse a time of an answer: RFC 1123 in headers, ISO 8601 in listings.

    Raises:
        InvalidAnswerError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text) if text[4:5] == "-" else parsedate_to_datetime(text)
    except ValueError as error:
        raise InvalidAnswerError("a time of the answer is not valid") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
