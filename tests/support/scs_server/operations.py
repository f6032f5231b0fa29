"""SCS's operations on the stored objects."""

import asyncio
import base64
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from tests.support.scs_server import answers
from tests.support.scs_server.answers import answer, xml
from tests.support.scs_server.errors import Refusal
from tests.support.scs_server.requests import ScsRequest
from tests.support.scs_server.store import Bucket, Segment, SegmentWriter, StoredObject

if TYPE_CHECKING:
    from tests.support.scs_server.server import FakeScsServer

_ENTRIES_MAX = 1_000
_PARTS_MAX = 10_000
_LAST_MODIFIED = "%a, %d %b %Y %H:%M:%S GMT"


class Operations:
    """Handlers of requests that are well-formed and signed."""

    def __init__(self, server: "FakeScsServer", folder: Path) -> None:
        self._server = server
        self._folder = folder

    async def serve(self, asked: ScsRequest, request: web.BaseRequest, *, cut_body: bool) -> web.StreamResponse:
        """Carry out a request.

        Args:
            asked: the parsed request.
            request: source of its body and destination of the response.
            cut_body: end the body of the response early.
        """
        bucket = self._server.buckets[asked.bucket]
        if asked.operation == "get_object":
            return await self._get_object(bucket, asked, request, cut_body=cut_body)
        if asked.operation in {"put_object", "upload_part"}:
            receive = self._put_object if asked.operation == "put_object" else self._upload_part
            return await receive(bucket, asked, request)
        body = b"".join([piece async for piece in request.content.iter_any()])
        response: web.StreamResponse = getattr(self, f"_{asked.operation}")(bucket, asked, body)
        if cut_body and request.transport is not None:
            request.transport.abort()
        return response

    async def _get_object(
        self, bucket: Bucket, asked: ScsRequest, request: web.BaseRequest, *, cut_body: bool
    ) -> web.StreamResponse:
        stored = bucket.get(asked.key)
        start, end = _range(asked.headers.get("range"), stored.size)
        response = web.StreamResponse(status=206 if "range" in asked.headers else 200, headers=_headers(stored))
        response.content_length = end - start
        if "range" in asked.headers:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
        await response.prepare(request)
        for piece in stored.pieces(start, start + (end - start) // 2 if cut_body else end):
            await response.write(piece)
        if cut_body and request.transport is not None:
            # The written data must be sent before the connection is cut.
            await asyncio.sleep(0.01)
            request.transport.abort()
            return response
        await response.write_eof()
        return response

    def _head_object(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        stored = bucket.get(asked.key)
        return web.Response(headers={**_headers(stored), "Content-Length": str(stored.size)})

    async def _receive(self, asked: ScsRequest, request: web.BaseRequest) -> tuple[Segment, str]:
        """Receive a complete body and check it; an incomplete body leaves nothing behind."""
        writer = SegmentWriter(self._folder)
        try:
            async for piece in request.content.iter_any():
                writer.write(piece)
        except BaseException:
            writer.drop()
            raise
        if writer.size != int(asked.headers["content-length"]):
            writer.drop()
            raise Refusal(400, "IncompleteBody")
        told = asked.headers.get("content-md5")
        spelt_base64 = base64.b64encode(bytes.fromhex(writer.md5)).decode()
        if told is not None and told not in {writer.md5, spelt_base64}:
            writer.drop()
            raise Refusal(400, "BadDigest", f"the body's MD5 is {writer.md5}")
        return writer.finish(), writer.md5

    async def _put_object(self, bucket: Bucket, asked: ScsRequest, request: web.BaseRequest) -> web.Response:
        segment, md5 = await self._receive(asked, request)
        bucket.put(asked.key, StoredObject([segment], md5, asked.headers["content-type"]))
        return web.Response(headers={"ETag": f'"{md5}"'})

    async def _upload_part(self, bucket: Bucket, asked: ScsRequest, request: web.BaseRequest) -> web.Response:
        number = int(asked.parameters["partNumber"])
        bucket.upload(asked.key, asked.parameters["uploadId"])
        if not 1 <= number <= _PARTS_MAX:
            raise Refusal(400, "InvalidArgument", "part numbers go from 1 to 10,000")
        md5 = asked.headers.get("content-md5", "")
        if len(md5) != 32 or md5 != md5.lower():
            raise Refusal(400, "InvalidDigest", "the SDK sends each part's Content-MD5 in hex")
        segment, md5 = await self._receive(asked, request)
        # Look the upload up again: it may have been aborted while the body was received.
        bucket.upload(asked.key, asked.parameters["uploadId"]).parts[number] = (segment, md5)
        return web.Response(headers={"ETag": f'"{md5}"'})

    def _copy_object(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        source = unquote(asked.headers["x-scs-copy-source"])
        prefix = f"/{asked.bucket}/"
        if not source.startswith(prefix):
            raise Refusal(400, "InvalidArgument", "the copy source is /BUCKET/KEY")
        stored = bucket.get(source.removeprefix(prefix))
        bucket.put(asked.key, StoredObject(stored.segments, stored.etag, stored.content_type))
        return answer(xml("CopyObjectResult", ETag=f'"{stored.etag}"'))

    def _rename_object(self, bucket: Bucket, asked: ScsRequest, body: bytes) -> web.Response:
        if body:
            raise Refusal(400, "InvalidArgument", "a rename has no body")
        rename = self._server.rename.name
        if rename == "REFUSES":
            raise Refusal(501, "NotImplemented", "no rename")
        if rename == "MOVES":
            bucket.rename(asked.key, asked.parameters["newObjectName"])
        elif rename == "WRITES":
            bucket.put(asked.key, StoredObject([], "d41d8cd98f00b204e9800998ecf8427e", "application/octet-stream"))
        return web.Response()

    def _delete_object(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        if asked.key in self._server.undeletable:
            raise Refusal(403, "AccessDenied", "this key stays")
        bucket.delete(asked.key)
        return web.Response(status=204)

    def _delete_objects(self, bucket: Bucket, _asked: ScsRequest, body: bytes) -> web.Response:
        keys = [key for (key,) in answers.texts(body, "Object", "Key")]
        if not 1 <= len(keys) <= _ENTRIES_MAX or not all(keys):
            raise Refusal(400, "MalformedXML", f"{len(keys)} keys, some empty perhaps")
        results = []
        for key in keys:
            if key in self._server.undeletable:
                results.append(xml("Error", Key=key, Code="AccessDenied", Message="this key stays"))
            elif key in self._server.reported_absent:
                results.append(xml("Error", Key=key, Code="NoSuchKey", Message="another request was faster"))
            elif key in self._server.flaky:
                self._server.flaky.discard(key)
                results.append(xml("Error", Key=key, Code="InternalError", Message="ask again"))
            else:
                bucket.delete(key)
                results.append(xml("Deleted", Key=key))
        return answer(xml("DeleteResult", *results))

    def _list_objects(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        entries_max = min(int(asked.parameters.get("max-keys") or _ENTRIES_MAX), _ENTRIES_MAX)
        return answer(answers.listing(bucket, asked.bucket, dict(asked.parameters), entries_max))

    def _get_location(self, _bucket: Bucket, _asked: ScsRequest, _body: bytes) -> web.Response:
        return web.Response(headers={"X-Scs-Location": "bjcnc"})

    def _create_upload(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        upload_id = bucket.begin_upload(asked.key, asked.headers["content-type"])
        return answer(xml("InitiateMultipartUploadResult", Bucket=asked.bucket, Key=asked.key, UploadId=upload_id))

    def _list_parts(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        return answer(answers.parts(bucket, asked.key, asked.parameters["uploadId"]))

    def _list_uploads(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        if not self._server.lists_uploads:
            raise Refusal(400, "InvalidArgument", "uploads are not listed")
        return answer(answers.uploads(bucket, asked.bucket, asked.parameters.get("prefix", "")))

    def _complete_upload(self, bucket: Bucket, asked: ScsRequest, body: bytes) -> web.Response:
        wanted = [(int(number), etag) for number, etag in answers.texts(body, "Part", "PartNumber", "ETag")]
        stored = bucket.complete(asked.key, asked.parameters["uploadId"], wanted)
        return answer(xml("CompleteMultipartUploadResult", Key=asked.key, ETag=f'"{stored.etag}"'))

    def _abort_upload(self, bucket: Bucket, asked: ScsRequest, _body: bytes) -> web.Response:
        bucket.upload(asked.key, asked.parameters["uploadId"])
        del bucket.uploads[asked.parameters["uploadId"]]
        return web.Response(status=204)


def _headers(stored: StoredObject) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": stored.modified_at.strftime(_LAST_MODIFIED),
        "Content-Type": stored.content_type,
    }


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Return start and end of a range."""
    if header is None:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= end:
        raise Refusal(416, "InvalidRange", f"{header} of {size} bytes")
    return start, end
