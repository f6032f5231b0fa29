"""The error that ends a release, or a change of the version, with one line."""


class ReleaseError(Exception):
    """A step of the release failed; the message names the step and the remedy."""
