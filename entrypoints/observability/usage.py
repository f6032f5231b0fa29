"""Metrics of storage use, from the last measurement."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from core.ports.metrics import Instrument, Merge, Metrics

_KINDS: Final = (
    *("blobs", "cached", "unlinked", "damaged", "collectable", "trash"),
    *("quarantined", "uploads", "transfers", "records"),
)


def usage_observer(metrics: Metrics) -> Callable[[Mapping[str, Any]], None]:
    """Return the function to call with a measurement, in the form of `StoreUsage.as_json`.

    Until the first call there are no gauges: a size or a time of 0 would be wrong.
    """
    size = metrics.gauge(
        "registry_storage_bytes", "Bytes in the store at the last measurement.", ["kind"], merge=Merge.LARGEST
    )
    count = metrics.gauge(
        "registry_storage_objects", "Objects in the store at the last measurement.", ["kind"], merge=Merge.LARGEST
    )
    measured: Instrument | None = None

    def observe(usage: Mapping[str, Any]) -> None:
        nonlocal measured
        # A gauge without labels would be 0 from the start.
        measured = measured or metrics.gauge(
            "registry_storage_measured_timestamp_seconds",
            "Time of the last measurement of storage use in Unix time.",
            merge=Merge.LARGEST,
        )
        for kind in _KINDS:
            if kind in usage:
                size(usage[kind]["bytes"], kind)
                count(usage[kind]["count"], kind)
        measured(datetime.fromisoformat(usage["measuredAt"]).timestamp())

    return observe
