"""A secret does not show its text."""

from core.model.secret import Secret, reveal


def test_secret_hides_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert str(secret) == "********"
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")


def test_only_a_secret_that_is_given_can_be_revealed() -> None:
    assert reveal(Secret("a")) == "a"
    assert reveal(None) is None
