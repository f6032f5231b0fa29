import pytest

from tests.support.collecting_services import Store


@pytest.fixture
def store():
    return Store()
