import pytest

from adapters.metrics.prometheus import SingleProcessMetrics


@pytest.fixture
def metrics():
    return SingleProcessMetrics()
