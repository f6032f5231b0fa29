"""Constructors for diagnoses."""

from core.diagnosis import Diagnosis, Verdict


def ok(check: str, detail: str = "") -> Diagnosis:
    """Return a diagnosis for a check that passed."""
    return Diagnosis(check=check, verdict=Verdict.OK, detail=detail)


def skipped(check: str, detail: str) -> Diagnosis:
    """Return a diagnosis for a check that was not run, with the reason."""
    return Diagnosis(check=check, verdict=Verdict.SKIPPED, detail=detail)


def warning(check: str, detail: str, remedy: str) -> Diagnosis:
    """Return a diagnosis for something that works now but may fail later."""
    return Diagnosis(check=check, verdict=Verdict.WARNING, detail=detail, remedy=remedy)


def failure(check: str, detail: str, remedy: str) -> Diagnosis:
    """Return a diagnosis for something that does not work."""
    return Diagnosis(check=check, verdict=Verdict.FAILURE, detail=detail, remedy=remedy)
