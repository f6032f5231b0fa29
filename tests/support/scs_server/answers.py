"""XML responses of SCS, without a namespace."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from aiohttp import web

from tests.support.scs_server.errors import Refusal
from tests.support.scs_server.store import Bucket


def xml(tag: str, *children: ET.Element, **texts: str) -> ET.Element:
    """Build an element: first children with name and text, then elements."""
    element = ET.Element(tag)
    for name, text in texts.items():
        ET.SubElement(element, name).text = text
    element.extend(children)
    return element


def answer(element: ET.Element, *, status: int = 200) -> web.Response:
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(element)
    return web.Response(body=body, status=status, content_type="application/xml")


def refused(refusal: Refusal, *, without_body: bool) -> web.Response:
    if without_body:
        return web.Response(status=refusal.status)
    error = xml("Error", Code=refusal.code, Message=str(refusal), RequestId="test")
    return answer(error, status=refusal.status)


def listing(bucket: Bucket, name: str, parameters: dict[str, str], entries_max: int) -> ET.Element:
    prefix, delimiter, marker = (parameters.get(n, "") for n in ("prefix", "delimiter", "marker"))
    keys, prefixes, has_more = bucket.listing(prefix, delimiter, marker, entries_max)
    element = xml(
        "ListBucketResult",
        Name=name,
        Prefix=prefix,
        Marker=marker,
        MaxKeys=str(entries_max),
        Delimiter=delimiter,
        IsTruncated=str(has_more).lower(),
    )
    # As in S3, version 1 names the next marker only if a delimiter is given.
    if has_more and delimiter:
        ET.SubElement(element, "NextMarker").text = max([*keys[-1:], *prefixes[-1:]])
    for key in keys:
        stored = bucket.objects[key]
        element.append(
            xml(
                "Contents",
                Key=key,
                LastModified=stored.modified_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                ETag=f'"{stored.etag}"',
                Size=str(stored.size),
            )
        )
    element.extend(xml("CommonPrefixes", Prefix=common) for common in prefixes)
    return element


def uploads(bucket: Bucket, name: str, prefix: str) -> ET.Element:
    found = [
        (upload.key, upload_id, upload.begun_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        for upload_id, upload in bucket.uploads.items()
        if upload.key.startswith(prefix)
    ]
    entries = [xml("Upload", Key=key, UploadId=upload_id, Initiated=at) for key, upload_id, at in sorted(found)]
    return xml("ListMultipartUploadsResult", *entries, Bucket=name, IsTruncated="false")


def parts(bucket: Bucket, key: str, upload_id: str) -> ET.Element:
    upload = bucket.upload(key, upload_id)
    entries = [
        xml("Part", PartNumber=str(number), ETag=f'"{etag}"', Size=str(segment.size))
        for number, (segment, etag) in sorted(upload.parts.items())
    ]
    return xml("ListPartsResult", *entries, Key=key, UploadId=upload_id, IsTruncated="false")


def texts(body: bytes, path: str, *names: str) -> Iterable[tuple[str, ...]]:
    """Yield the texts of the elements at `path` in a request's XML, regardless of the namespace."""
    root = ET.fromstring(body)  # noqa: S314 - input comes from the code under test
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for element in root.iter(path):
        yield tuple(element.findtext(name, "") for name in names)
