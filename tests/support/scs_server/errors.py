"""Error responses of the endpoint."""


class Refusal(Exception):  # noqa: N818 - a response, not a fault
    """An error response."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
