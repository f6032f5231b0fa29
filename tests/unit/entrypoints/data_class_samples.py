"""Print results of data classes: `python -m tests.unit.entrypoints.data_class_samples [late]`, a line per fact.

With the word, their methods are compiled late.
"""

import copy
import operator
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, fields, replace
from typing import Any, ClassVar

from typing_extensions import override

from entrypoints.start.late_methods import compile_methods_late

IS_LATE = "late" in sys.argv and compile_methods_late()


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(Point):
    name: str
    tags: list[str] = field(default_factory=list, compare=False)
    kind: ClassVar[str] = "named"


class Shape(ABC):
    @abstractmethod
    def area(self) -> int: ...


@dataclass(order=True)
class Square(Shape):
    side: int
    scale: InitVar[int] = 1
    doubled: int = field(init=False, repr=False, default=0)

    def __post_init__(self, scale: int) -> None:
        self.doubled = 2 * self.side * scale

    @override
    def area(self) -> int:
        return self.side**2


@dataclass
class Tree:
    branches: list["Tree"] = field(default_factory=list)


@dataclass(frozen=True)
class Own:
    """Has its own methods, and borrows one."""

    number: int
    same_hash = Point.__hash__

    @override
    def __repr__(self) -> str:
        return "own"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    __hash__ = None  # type: ignore[assignment] # replaced, because the class is frozen


class Plain(Point):
    """Inherits all, and is no data class."""


def attempts() -> Iterator[Callable[[], object]]:
    """Yield calls whose results, or errors, have to be the same in both runs."""
    point: Any = Point(1)
    named: Any = Named(3, name="n", tags=["t"])
    point_class: Any = Point
    named_class: Any = Named
    shape_class: Any = Shape
    tree = Tree()
    tree.branches.append(tree)
    yield lambda: (point, named, Square(2, 5), Own(1), Plain(7), tree)
    yield lambda: (point == Point(1, 2), point == Point(2), point == named, point == 1, Plain(1) == point)
    yield lambda: (hash(point) == hash(Point(1)), {point: 1}[Point(1, 2)], hash(named) == hash(replace(named, tags=[])))
    yield lambda: (replace(point, y=5), replace(named, name="m"), replace(Square(2), scale=3).doubled)
    yield lambda: (pickle.loads(pickle.dumps(named)), copy.deepcopy(named), copy.copy(point))  # noqa: S301 - our own
    yield lambda: (Square(1) < Square(2), Square(2) >= Square(1), sorted([Square(3), Square(2)]))
    yield lambda: [each.name for each in fields(Named)] + [*Point.__match_args__]
    yield lambda: (Own(1) == Own(2), Own.__repr__.__qualname__, Point.__init__.__qualname__)
    yield point_class
    yield lambda: point_class(1, 2, 3)
    yield lambda: named_class(1, z=2)
    yield shape_class
    yield lambda: setattr(point, "x", 2)
    yield lambda: setattr(Plain(1), "more", 2)
    yield lambda: delattr(named, "name")
    yield lambda: hash(Square(1))
    yield lambda: hash(Own(1))
    yield lambda: operator.lt(point, point)


def main() -> None:
    """Print the facts."""
    print(f"late: {IS_LATE}")
    # A method that was not called yet has the code that all late methods share.
    print("shared:", sum(Point.__init__.__code__ is each.__code__ for each in (Tree.__init__, Point.__eq__)))
    for attempt in attempts():
        try:
            print(attempt())
        except Exception as error:  # noqa: BLE001 - printed
            print(type(error).__name__, error)
    print("shared:", sum(Point.__init__.__code__ is each.__code__ for each in (Tree.__init__, Point.__eq__)))


if __name__ == "__main__":
    main()
