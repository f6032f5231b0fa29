"""How the endpoint refuses."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An error answer."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
