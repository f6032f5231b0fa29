"""One suite per port, run on every adapter of it."""

import pkgutil

import pytest

# Without this, the asserts of the shared suites would fail without showing values.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if "test_" not in module.name)
)
