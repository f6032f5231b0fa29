"""Contract tests: one suite per port, run on every adapter of the port."""

import pkgutil

import pytest

# Without this, failed asserts in the shared suites would not show the compared values.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if "test_" not in module.name)
)
