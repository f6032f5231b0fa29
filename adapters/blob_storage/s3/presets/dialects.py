"""The deviations of the stores from S3, as their vendors document them."""

from typing import Final

from adapters.blob_storage.s3.dialect import Dialect

GCS: Final = Dialect(
    name="gcs",
    # Its own condition, `x-goog-if-generation-match`, cannot be mixed with headers of Amazon.
    writes_conditionally=False,
    copies_in_parts=False,
)
OSS: Final = Dialect(
    name="oss",
    addressing="virtual",
    writes_conditionally=False,
)
SWIFT: Final = Dialect(
    name="swift",
    # A condition is checked against what some of the replicas hold.
    writes_conditionally=False,
)
