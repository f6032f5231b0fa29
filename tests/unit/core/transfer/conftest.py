import pytest

from tests.support.core_services import CoreServices
from tests.support.transfers import CopyRun, memory


@pytest.fixture
def services():
    return CoreServices(storage=memory())


@pytest.fixture
def run(services):
    return CopyRun(services.storage, memory())
