"""Blob storage in S3 and in stores that speak its REST API.

What is where:

    storage     the port; everything below serves it
      client    the open pool: every request, its retries, redirects and errors (errors, http_session, body)
      reader    objects as streams, through broken connections
      writer    staged objects: what is held, sent and kept when (staging, uploading, multipart, session_memory)
      moving    rename, or copy and delete
      removal   keys in batches, trees
      names     listings as names in the port's order (ordering, listing)
    options     what an operator may set
    dialect     in what a vendor differs
    capabilities  requests that one store was found not to offer

SCS is such a vendor; its adapter stands beside this one.
"""

from adapters.blob_storage.s3.options import RetryOptions, S3Options
from adapters.blob_storage.s3.storage import S3BlobStorage

__all__ = ["RetryOptions", "S3BlobStorage", "S3Options"]
