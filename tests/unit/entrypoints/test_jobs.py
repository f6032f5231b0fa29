"""Metrics of long jobs, and the file that a command writes them to."""

import pytest

from config.errors import ConfigError
from core.collection.report import CollectionReport, Phase
from core.verification.findings import VerificationPhase
from core.verification.journal import Checkpoint
from core.verification.verifier import VerificationProgress
from entrypoints.observability.jobs import MetricsFile, VerificationObserver, collection_observer
from tests.support.metrics import Scrape


def read(metrics):
    return Scrape(metrics.render("")[0].decode())


def test_collection_is_measured(metrics):
    observe = collection_observer(metrics, now=lambda: 1e9)
    report = CollectionReport(repositories=3, blobs_removed=2, bytes_removed=500, problem_count=1)
    report.phase = Phase.LOOKING_AGAIN
    observe(report)
    scrape = read(metrics)
    prefix = "registry_garbage_collection"
    assert scrape.total(f"{prefix}_repositories") == 3
    assert scrape.total(f"{prefix}_bytes_removed") == 500
    assert scrape.total(f"{prefix}_problems") == 1
    assert scrape.total(f"{prefix}_phase", phase="looking_again") == scrape.total(f"{prefix}_phase") == 1
    assert scrape.total(f"{prefix}_last_success_timestamp_seconds") == 0
    report.phase, report.seconds = Phase.DONE, 60.0
    observe(report)
    scrape = read(metrics)
    assert scrape.total(f"{prefix}_phase", phase="done") == scrape.total(f"{prefix}_phase") == 1
    assert scrape.total(f"{prefix}_last_success_timestamp_seconds") == 1e9
    assert scrape.total(f"{prefix}_duration_seconds") == 60


def test_verification_is_measured(metrics):
    observer = VerificationObserver(metrics, now=lambda: 1e9)
    counted = Checkpoint(blobs=7, damage=2, left=1)
    observer.progress(VerificationProgress(phase=VerificationPhase.REPOSITORIES, fraction=0.25, counted=counted))
    scrape = read(metrics)
    fraction = "registry_verification_phase_fraction"
    assert scrape.total(fraction, phase="data") == 1
    assert scrape.total(fraction, phase="repositories") == 0.25
    assert scrape.total(fraction, phase="orphans") == 0
    assert scrape.total("registry_verification_damage") == 2
    assert scrape.total("registry_verification_last_success_timestamp_seconds") == 0
    observer.done(counted)
    scrape = read(metrics)
    assert scrape.total(fraction) == 3
    assert scrape.total("registry_verification_last_success_timestamp_seconds") == 1e9


def test_file_is_replaced_atomically_and_not_too_often(metrics, tmp_path):
    now = [0.0]
    gauge = metrics.gauge("registry_things", "Things.")
    path = tmp_path / "registry.prom"
    file = MetricsFile(path, metrics, clock=lambda: now[0])
    seen = []
    for seconds in (1.0, 4.9, 5.0, 6.0):
        now[0] = seconds
        gauge(seconds)
        file.write_sometimes()
        seen.append(Scrape(path.read_text()).total("registry_things"))
    assert seen == [0, 0, 5, 5]
    file.write()
    assert [path.name for path in tmp_path.iterdir()] == ["registry.prom"]
    assert Scrape(path.read_text()).total("registry_things") == 6


def test_unwritable_file_is_an_error_at_start_and_a_warning_later(metrics, tmp_path, caplog):
    folder = tmp_path / "folder"
    with pytest.raises(ConfigError, match="cannot write metrics: No such file"):
        MetricsFile(folder / "registry.prom", metrics)
    folder.mkdir()
    file = MetricsFile(folder / "registry.prom", metrics)
    (folder / "registry.prom").unlink()
    folder.rmdir()
    file.write()
    assert "cannot write metrics to" in caplog.text
