"""botocore's definitions of S3, which the worker processes of a server share."""

from botocore.loaders import JSONFileLoader

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import S3
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.sdk.definitions import preload_definitions


async def test_client_reads_no_definition_after_a_preload(monkeypatch):
    preload_definitions()
    read = []
    load = JSONFileLoader.load_file

    def record(self, path):
        content = load(self, path)
        if content is not None:
            read.append(path)
        return content

    monkeypatch.setattr(JSONFileLoader, "load_file", record)
    async with StoreClient.open(S3Options(bucket="images", region="us-east-1"), S3):
        assert read == []
