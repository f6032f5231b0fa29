"""Metrics of long jobs, set by a server that collects garbage, or written to a file by a command."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.errors import ConfigError
from core.collection.report import CollectionReport
from core.collection.report import Phase as CollectionPhase
from core.ports.metrics import Merge, Metrics
from core.verification.findings import VerificationPhase
from core.verification.journal import Checkpoint

if TYPE_CHECKING:
    from core.verification.verifier import VerificationProgress

_logger = logging.getLogger(__name__)

WRITE_SECONDS: Final = 5.0
"""Minimum interval between two writes of the file."""

_COLLECTED: Final = {
    "repositories": "Repositories read",
    "manifests": "Manifests read",
    "blobs": "Blobs found",
    "manifests_removed": "Manifests removed",
    "layer_links_removed": "Links to layers removed",
    "blobs_removed": "Blobs removed",
    "bytes_removed": "Bytes of blobs removed",
    "spared": "Candidates kept because they came into use",
    "problem_count": "Problems found in the store",
}
"""Fields of the report, with the help texts of their metrics."""
_COLLECTED_NAMES: Final = {"problem_count": "problems"}

_VERIFIED: Final = {
    "blobs": "Blobs verified.",
    "blob_bytes": "Bytes of blobs read.",
    "repositories": "Repositories verified.",
    "manifests": "Manifests verified.",
    "damage": "Damaged items found.",
    "left": "Damaged items that are not repaired.",
    "notes": "Notes: findings that are not damage.",
}


def collection_observer(metrics: Metrics, now: Callable[[], float] = time.time) -> Callable[[CollectionReport], None]:
    """Return an observer that sets the metrics of a garbage collection; it is cheap to call often."""
    prefix = "registry_garbage_collection"
    numbers = {
        field: metrics.gauge(f"{prefix}_{_COLLECTED_NAMES.get(field, field)}", f"{text} by the current or last run.")
        for field, text in _COLLECTED.items()
    }
    phases = metrics.gauge(f"{prefix}_phase", "1 for the current phase of the run.", ["phase"])
    seconds = metrics.gauge(f"{prefix}_duration_seconds", "Duration in seconds of the last completed run.")
    succeeded = metrics.gauge(
        f"{prefix}_last_success_timestamp_seconds",
        "End of the last completed run in Unix time.",
        merge=Merge.LARGEST,
    )

    def observe(report: CollectionReport) -> None:
        for field, set_value in numbers.items():
            set_value(getattr(report, field))
        for phase in CollectionPhase:
            phases(int(phase is report.phase), phase.value.replace(" ", "_"))
        if report.phase is CollectionPhase.DONE:
            seconds(report.seconds)
            succeeded(now())

    return observe


class VerificationObserver:
    """Sets the metrics of a verification, during the run and at its end."""

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.time) -> None:
        prefix = "registry_verification"
        self._numbers = {field: metrics.gauge(f"{prefix}_{field}", text) for field, text in _VERIFIED.items()}
        self._fraction = metrics.gauge(
            f"{prefix}_phase_fraction", "Completed share of a phase, from 0 to 1.", ["phase"]
        )
        self._succeeded = metrics.gauge(
            f"{prefix}_last_success_timestamp_seconds",
            "End of the last completed verification in Unix time.",
            merge=Merge.LARGEST,
        )
        self._now = now

    def progress(self, progress: "VerificationProgress") -> None:
        """Update the metrics from the progress of the run."""
        self._count(progress.counted)
        for phase in VerificationPhase:
            if phase is progress.phase:
                self._fraction(progress.fraction or 0.0, phase.value)
                return
            self._fraction(1.0, phase.value)

    def done(self, counted: Checkpoint) -> None:
        """Update the metrics at the end of the run."""
        self._count(counted)
        for phase in VerificationPhase:
            self._fraction(1.0, phase.value)
        self._succeeded(self._now())

    def _count(self, counted: Checkpoint) -> None:
        for field, set_value in self._numbers.items():
            set_value(getattr(counted, field))


class MetricsFile:
    """Metrics file for the textfile collector of Prometheus' node exporter, replaced as a whole on each write.

    Args:
        path: path of the file; the name ends in `.prom`.
        metrics: metrics to write.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._written_at = clock()
        try:
            self._replace()
        except OSError as error:
            raise ConfigError([f"{path}: cannot write metrics: {error.strerror}"]) from None

    def write_sometimes(self) -> None:
        """Write the file, unless the last write was less than `WRITE_SECONDS` ago."""
        if self._clock() - self._written_at >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the file; a failure is logged and does not stop the job."""
        try:
            self._replace()
        except OSError as error:
            _logger.warning("cannot write metrics to %s: %s", self._path, error.strerror)
        self._written_at = self._clock()

    def _replace(self) -> None:
        body, _ = self._metrics.render("")
        # Write under another name first: the exporter may read the file at any moment.
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_bytes(body)
        new.replace(self._path)
