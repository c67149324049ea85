"""Run as a main program by `test_main_classes`: kinds of classes that only it defines, sent to a worker."""

import abc
import collections
import dataclasses
import enum
import functools
import os.path
import pathlib
import sys
import typing
import xml.dom

import numpy as np

from funcnet import data

sys.path.append(pathlib.Path("/nowhere"))  # type: ignore[arg-type]

T = typing.TypeVar("T")
shape = open(os.devnull)  # noqa: SIM115  a global that cannot be sent, named like an attribute


class Abstract(abc.ABC):
    @abc.abstractmethod
    def value(self, index): ...

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.value(index)


class FromAbstract(Abstract):
    def value(self, index):
        return super().__len__() * index


class FromProtocol(data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index, /):
        return index


class FromGeneric(typing.Generic[T]):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index


class Typed(FromGeneric[int]):
    pass


@dataclasses.dataclass
class Fields:
    start: int = 1
    more: list = dataclasses.field(default_factory=list)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        names = [field.name for field in dataclasses.fields(Fields)]
        assert dataclasses.replace(self, start=2) == Fields(2)
        return len(names) + self.start + index


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    start: int

    def __len__(self):
        return 3

    def __getitem__(self, index):
        assert hash(self) == hash(Frozen(self.start))
        return self.start + index


class Color(enum.Enum):
    RED = 1
    BLUE = 2
    AZURE = 2

    @property
    def double(self):
        return self.value * 2


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Planet(enum.Enum):
    EARTH = (3, 4)

    def __init__(self, a, b):
        self.a, self.b = a, b


class Coin(enum.Enum):
    CENT = (1, "c")

    def __new__(cls, value, sign):
        made = object.__new__(cls)
        made._value_, made.sign = value, sign
        return made


class Text(enum.StrEnum):
    SHORT = enum.auto()


@dataclasses.dataclass(kw_only=True)
class Options:
    a: int = 1
    b: dataclasses.InitVar[int] = 3

    class Nested:
        c = 4

    def __post_init__(self, b):
        self.d = b


class Record(typing.TypedDict, total=False):
    x: int


class Point(typing.NamedTuple):
    x: int
    y: int = 5


Pair = collections.namedtuple("Pair", ["x", "y"])


class Registered:
    names: typing.ClassVar[list] = []

    def __init_subclass__(cls, *, key, **more):
        super().__init_subclass__(**more)
        cls.names.append(key)


class Named(Registered, key="named"):
    pass


class Everything:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        assert Color.AZURE is Color.BLUE is Color(2)
        assert list(Color) == [Color.RED, Color.BLUE]
        assert Access(3) == Access.READ | Access.WRITE
        assert Planet.EARTH.b == 4
        assert Coin(1).sign == "c"
        assert Text.SHORT == "short"
        assert (Options(b=2).d, Options.Nested.c) == (2, 4)
        record: Record = {"x": index}
        assert Record.__optional_keys__ == {"x"}
        assert Registered.names == ["named"]
        assert Named.names is Registered.names
        assert xml.dom.Node.ELEMENT_NODE == 1
        assert np.zeros((2, 3)).shape == (2, 3)
        pair = Pair(*Point(record["x"]))
        return pair.x + pair.y + Color.BLUE.double


class Cached(list):
    """Its items are those of the list plus ten, remembered."""

    @functools.lru_cache  # noqa: B019
    def __getitem__(self, index):
        return super().__getitem__(index) + 10

    def __hash__(self):
        return id(self)


class Lazy:
    def __len__(self):
        return 3

    @functools.cached_property
    def table(self):
        return [7, 8, 9]

    @functools.singledispatchmethod
    def kind(self, value):
        return 0

    @kind.register
    def _(self, value: int):
        return value

    def __getitem__(self, index):
        return self.table[self.kind(index)]


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        assert type(OfMeta) is Meta
        return index


@functools.lru_cache(maxsize=5)
def remembered(value):
    return value + 100


datasets = [
    FromAbstract(),
    FromProtocol(),
    FromGeneric(),
    Typed(),
    Fields(),
    Frozen(4),
    Everything(),
    Cached([1, 2, 3]),
    Lazy(),
    OfMeta(),
    data.map(remembered, range(3)),
    data.map(lambda i: i + 1, range(3)),
]

here = [[int(dataset[i]) for i in range(3)] for dataset in datasets]
loader = data.DataLoader(data.ConcatDataset(datasets), 3, num_workers=1, workers="process")
for dataset, expected, batch in zip(datasets, here, loader, strict=True):
    assert batch.tolist() == expected, (dataset, expected, batch)
print(len(here), "kinds")
