"""Presets of the S3 adapter for stores for which distribution has a driver of its own.

Each has the keys of that driver, and uses the same bucket with the same keys of objects.
This package loads no SDK, so that the configuration can read the options. `dialects` is loaded with the adapter.
"""

from adapters.blob_storage.s3.presets.gcs import GcsOptions
from adapters.blob_storage.s3.presets.oss import OssOptions
from adapters.blob_storage.s3.presets.swift import SwiftOptions

__all__ = ["GcsOptions", "OssOptions", "SwiftOptions"]
