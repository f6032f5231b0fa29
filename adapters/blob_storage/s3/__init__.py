"""Blob storage in S3 and in stores that speak its REST API."""

from adapters.blob_storage.s3.options import RetryOptions, S3Options
from adapters.blob_storage.s3.storage import S3BlobStorage

__all__ = ["RetryOptions", "S3BlobStorage", "S3Options"]
