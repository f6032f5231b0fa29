"""Space on a disk: a number of bytes, or a share."""

import pytest

from core.model.sizes import Space


@pytest.mark.parametrize(
    ("space", "disk", "size"),
    [(Space(), 1000, 0), (Space(bytes=70), 1000, 70), (Space(percent=10), 1001, 101), (Space(percent=100), 50, 50)],
)
def test_space_on_a_disk(space: Space, disk: int, size: int) -> None:
    assert space.of(disk) == size
