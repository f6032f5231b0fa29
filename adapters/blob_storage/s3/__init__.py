"""Blob storage in S3 and in stores that implement its REST API.

Modules:

    storage     the adapter; uses everything below
      client    every request, its retries, redirects and errors (errors, body)
        ways      the choice between the two ways to send a request (requests)
          direct    without botocore, for keys and an endpoint of the settings (signing, answers, connections)
          sdk       by botocore, which finds credentials, endpoints and rare signatures
        presigning  presigned URLs, each used for many requests
      reader    objects as streams, resumed after broken connections
      writer    staged objects: when bytes are buffered, sent and stored (staging, uploading, multipart, session_memory)
        part_memory  the bound for the bytes of all uploads (blocks, shared_use)
      moving    rename, or copy and delete
      removal   removal of keys in batches, and of trees
      names     listings as names in the port's order (ordering, listing)
    options     settings of the operator
    dialect     differences between vendors
    capabilities  requests that the store turned out not to support

    presets   stores for which distribution has a driver of its own: options, deviations

SCS is one of these vendors; its adapter is the package beside this one.

This package alone loads no SDK, so that the configuration can read `options`.
"""

from adapters.blob_storage.s3.options import RetryOptions, S3Options

__all__ = ["RetryOptions", "S3Options"]
