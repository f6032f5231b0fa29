"""Tokens of API keys, and their stored form."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access_keys.key import AccessKey, Token, hash_secret, is_key_id, limit_to, require_label
from core.errors import InvalidInputError, StorageCorruptError

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def numbered(number: int):
    """Return an entropy whose bytes all have this value."""
    return lambda count: bytes([number]) * count


def key_with(**members: object) -> AccessKey:
    values: dict[str, object] = {
        "id": "0" * 11,
        "owner": "ci",
        "label": "builds",
        "limit": limit_to(["team/**"], ["pull", "push"]),
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "secret_hash": hash_secret("s"),
    }
    return AccessKey(**(values | members))  # type: ignore[arg-type]


@given(st.integers(0, 255))
def test_token_has_one_form_and_is_parsed(number):
    token = Token.new(numbered(number))
    assert re.fullmatch(r"srk_[0-9A-Za-z]{11}_[0-9A-Za-z]{49}", token.text)
    assert Token.parse(token.text) == token
    assert is_key_id(token.id)


@given(st.integers(0, 63), st.sampled_from("0Zz_-"))
def test_changed_token_is_none(position, character):
    text = Token.new(numbered(7)).text
    changed = text[:position] + character + text[position + 1 :]
    assert Token.parse(changed) == (Token.parse(text) if changed == text else None)


@pytest.mark.parametrize("text", ["", "srk_", "srk_secret-of-a-person", "x" * 100_000, "srk_" + "é" * 61])
def test_passwords_are_no_tokens(text):
    assert Token.parse(text) is None


@pytest.mark.parametrize("text", ["", "a" * 12, "../../../x", "a-b-c-d-e-f", "é" * 11])
def test_other_texts_are_no_ids(text):
    assert not is_key_id(text)


@pytest.mark.parametrize("expires_at", [None, NOW + timedelta(days=1)])
def test_stored_form_is_read_again(expires_at):
    key = key_with(expires_at=expires_at)
    assert AccessKey.decode(key.id, key.encode()) == key
    assert b'"s"' not in key.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"owner": None, "expires": 5},
        {"actions": ["fly"]},
        {"actions": []},
        {"repositories": []},
        {"repositories": 5},
        {"created": "2026-11-29T12:00:00"},
        {"created": "yesterday"},
    ],
)
def test_damaged_content_is_no_key(change):
    document = json.loads(key_with().encode()) | change
    with pytest.raises(StorageCorruptError):
        AccessKey.decode("0" * 11, json.dumps(document).encode())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"null"])
def test_other_content_is_no_key(content):
    with pytest.raises(StorageCorruptError):
        AccessKey.decode("0" * 11, content)


def test_key_ends_at_its_time():
    key = key_with()
    assert not key.is_expired(NOW)
    assert key.is_expired(NOW + timedelta(days=1))
    assert not key_with(expires_at=None).is_expired(NOW + timedelta(days=10_000))


def test_secret_matches_itself_only():
    assert key_with().matches("s")
    assert not key_with().matches("t")


@pytest.mark.parametrize(
    ("repositories", "actions"),
    [
        ([], ["pull"]),
        (["a"], []),
        (["a"] * 101, ["pull"]),
        (["a" * 256], ["pull"]),
        ([""], ["pull"]),
        (["a"], ["*"]),
    ],
)
def test_limits_that_mean_nothing_are_refused(repositories, actions):
    with pytest.raises(InvalidInputError):
        limit_to(repositories, actions)


@pytest.mark.parametrize("label", ["", "  ", "a" * 101, "a\nb"])
def test_labels_that_cannot_be_shown_are_refused(label):
    with pytest.raises(InvalidInputError):
        require_label(label)


def test_label_is_stripped():
    assert require_label(" builds ") == "builds"
