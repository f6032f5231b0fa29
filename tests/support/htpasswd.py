"""Htpasswd files with cheap hashes, so that tests do not wait for bcrypt."""

import base64
from pathlib import Path

import bcrypt


def write_htpasswd(path: Path, *, rounds: int = 4, **passwords: str) -> Path:
    """Write an htpasswd file, replacing an existing one atomically."""
    lines = [f"{name}:{hash_of(password, rounds=rounds)}\n" for name, password in passwords.items()]
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(lines) or "# nobody\n")
    return fresh.rename(path)


def hash_of(password: str, *, rounds: int = 4, prefix: str = "2y") -> str:
    """Return a bcrypt hash as `htpasswd -B` writes it."""
    return "$" + prefix + bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()[3:]


def basic(name: str, password: str) -> str:
    """Return the `Authorization` value of a user."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
