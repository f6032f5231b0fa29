import pytest

from tests.support.counted_requests import CountedStorage
from tests.support.summaries import SummarizedStore


@pytest.fixture
def counted(storage):
    return CountedStorage(storage)


@pytest.fixture
def store(counted, time):
    return SummarizedStore(counted, time)
