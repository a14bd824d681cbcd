"""Options of any kind are in the log as JSON that can be asked, or refused before anything is on the disk."""

import argparse
import dataclasses
import math
import warnings
from collections import OrderedDict, deque, namedtuple
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from unittest.mock import MagicMock

import attrs
import numpy as np
import omegaconf
import pandas as pd
import pydantic
import pytest
import torch

from collector import Collector, connect
from collector.log.config import plain_config


class Net(Enum):
    MLP = 1
    CONV = "conv"


class Level(IntEnum):
    HIGH = 3


class Kind(StrEnum):
    SMALL = "small"


@dataclasses.dataclass
class Data:
    folder: Path = Path("images")


@dataclasses.dataclass(slots=True)
class Options:
    arch: str = "mlp"
    data: Data = dataclasses.field(default_factory=Data)


@attrs.define
class Attrs:
    arch: str = "mlp"


class Model(pydantic.BaseModel):
    arch: str = "mlp"
    data: Data = Data()
    key: pydantic.SecretStr = pydantic.SecretStr("hush")


class Pretrained:
    """As the configurations of transformers are."""

    def __init__(self) -> None:
        self._internal = object()

    def to_dict(self) -> dict:
        return {"arch": "mlp", "dtype": torch.bfloat16}


class Attributes:
    arch = "mlp"
    loss = torch.nn.CrossEntropyLoss
    _hidden = 1

    def method(self) -> None: ...

    @property
    def unreadable(self) -> None:
        raise RuntimeError


class KeysOnly:
    """A mapping by its methods alone, as wandb's and ml_collections' configurations are."""

    def keys(self) -> list[str]:
        return ["arch"]

    def __getitem__(self, key: str) -> str:
        return {"arch": "mlp"}[key]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no words\nfor it")


class UnsayableError(Exception):
    def __str__(self) -> str:
        raise ValueError


class Unsayable:
    def __str__(self) -> str:
        raise UnsayableError


class Lazy(Mapping):
    """Has an entry that cannot be read."""

    def __iter__(self):
        return iter(["arch", "entity"])

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: str) -> str:
        if key == "entity":
            raise LookupError("it is missing")
        return "mlp"


def with_attributes(**attributes: object) -> Attributes:
    config = Attributes()
    vars(config).update(attributes)
    return config


def converted(value: object) -> object:
    """What an entry becomes."""
    return plain_config({"entry": value})["entry"]


@pytest.mark.parametrize(
    "config",
    [
        {"arch": "mlp"},
        OrderedDict(arch="mlp"),
        MappingProxyType({"arch": "mlp"}),
        argparse.Namespace(arch="mlp"),
        SimpleNamespace(arch="mlp"),
        Options(),
        Attrs(),
        Model(),
        omegaconf.OmegaConf.create({"arch": "${net}", "net": "mlp"}),
        Pretrained(),
        namedtuple("Point", "arch")("mlp"),
        KeysOnly(),
        Attributes,
        Attributes(),
        with_attributes(lr=1.0),
    ],
    ids=lambda config: type(config).__name__,
)
def test_options_of_any_kind_can_be_asked(emitter, tmp_path, config):
    with Collector(emitter, tmp_path, name="r", config=config):
        emitter.say(1)
    assert connect(tmp_path).sql("SELECT status, config ->> 'arch' FROM runs").fetchall() == [("finished", "mlp")]


@pytest.mark.parametrize(
    "config",
    [
        *(3, "lr=1", b"lr", 1.5, np.float32(1), [("lr", 1)], {"lr"}, Path("options.yaml"), math),
        *(omegaconf.OmegaConf.create([1]), torch.ones(2), torch.nn.Linear(1, 1), print, object(), dict, MagicMock()),
        *(Net, Net.MLP, Options, Model, argparse.ArgumentParser()),
    ],
    ids=lambda config: type(config).__name__,
)
def test_what_holds_no_options_is_refused_and_leaves_nothing_behind(emitter, tmp_path, config):
    with pytest.raises(TypeError, match="holds no options by name: give a mapping") as caught:
        Collector(emitter, tmp_path / "runs", name="r", config=config)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_mapping_that_does_not_give_its_names_is_refused(emitter, tmp_path):
    class Torn(Lazy):
        def __iter__(self):
            raise OSError("the server is gone")

    with pytest.raises(TypeError, match=r"does not give its names \(OSError: the server is gone\): give a dict"):
        Collector(emitter, tmp_path / "runs", name="r", config=Torn())
    assert list(tmp_path.iterdir()) == []


def test_what_is_nested_in_options_is_opened():
    inner = {"data": {"folder": "images"}}
    assert plain_config(Options()) == {"arch": "mlp"} | inner
    assert plain_config(Model()) == {"arch": "mlp"} | inner | {"key": "**********"}
    nested = argparse.Namespace(a=[SimpleNamespace(b=Data())], c=Pretrained())
    plain = {"a": [{"b": {"folder": "images"}}], "c": {"arch": "mlp", "dtype": "torch.bfloat16"}}
    assert plain_config(nested) == plain


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (True, True),
        (np.bool_(True), True),
        (np.int8(3), 3),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.str_("s"), "s"),
        (np.datetime64("2024-01-01", "ns"), "2024-01-01T00:00:00.000000000"),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(3), 3),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (math.nan, "nan"),
        (np.float32("inf"), "inf"),
        (torch.tensor(-math.inf), "-inf"),
        (1j, "1j"),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (2**64, str(2**64)),
        (-(10**20), str(-(10**20))),
        (16**6000, "0x1" + "0" * 6000),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (torch.nn.Parameter(torch.ones(2)), [1.0, 1.0]),
        (np.array([1, None, math.nan], object), [1, None, "nan"]),
        (pd.Series([1, 2]), [1, 2]),
        (np.zeros((100, 100)), "ndarray of shape (100, 100)"),
        (torch.zeros(100, 100), "Tensor of shape (100, 100)"),
        (pd.DataFrame({"a": [1]}), "DataFrame of shape (1, 1)"),
        (torch.Size([1, 2]), [1, 2]),
        (torch.float16, "torch.float16"),
        (torch.device("cuda:1"), "cuda:1"),
        (Path("a/b"), "a/b"),
        (Net.MLP, "MLP"),
        (Net.CONV, "conv"),
        (Level.HIGH, 3),
        (Kind.SMALL, "small"),
        ({3, 1, 10}, [1, 3, 10]),
        (frozenset(["b", 1, None]), [None, 1, "b"]),
        (deque([1, (2,)]), [1, [2]]),
        (range(3), [0, 1, 2]),
        (range(10**9), "range(0, 1000000000)"),
        (b"ab", "b'ab'"),
        (b"a" * 2000, "2000 bytes"),
        ("\ud800", "?"),
        (Data, f"{Data}"),
        ({None: 1, (1, 2): 2, Net.MLP: 3, 0.5: 4}, {"None": 1, "[1, 2]": 2, "MLP": 3, "0.5": 4}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_any_library_becomes_what_json_has_for_it(value, plain):
    found = converted(value)
    assert found == plain
    assert type(found) is type(plain)


def test_duckdb_reads_the_largest_numbers_and_any_sign(emitter, tmp_path):
    config = {"u": 2**64 - 1, "huge": 10**30, "nul": "a\0b", "a.b": [1, {"ε": None}]}
    with Collector(emitter, tmp_path, name="r", config=config):
        emitter.say(1)
    question = "SELECT (config->'u')::UBIGINT, config->>'huge', config->>'nul', config->>'$.\"a.b\"[1]' FROM runs"
    assert connect(tmp_path).sql(question).fetchall() == [(2**64 - 1, "1" + "0" * 30, "a\0b", '{"ε":null}')]


@pytest.mark.parametrize(
    ("config", "plain", "warning"),
    [
        (Lazy(), {"arch": "mlp", "entity": "<cannot be read: LookupError: it is missing>"}, "'entity' is"),
        ({"a": {"b": [Unprintable()]}}, {"a": {"b": ["<cannot be read: RuntimeError: no words>"]}}, r"'a\.b\[0\]' is"),
        ({"a": Unsayable()}, {"a": "<cannot be read: UnsayableError>"}, "'a' is"),
        ({Unprintable(): 1}, {"<cannot be read: RuntimeError: no words>": 1}, "'<a key>' is"),
        (
            omegaconf.OmegaConf.create({"x": {"y": "???"}, "z": ["${nowhere}", 1]}),
            {
                "x": {"y": "<cannot be read: MissingMandatoryValue: Missing mandatory value: x.y>"},
                "z": ["<cannot be read: InterpolationKeyError: Interpolation key 'nowhere' not found>", 1],
            },
            r"'x\.y' is .*, 'z\[0\]' is",
        ),
        (
            {1: "a", "1": "b"},
            {"1": "a", "1 (2)": "b"},
            "'1' is there twice as a string, the second time as '1 \\(2\\)'",
        ),
    ],
    ids=["mapping", "repr", "error", "key", "OmegaConf", "keys that fall together"],
)
def test_an_entry_that_cannot_be_taken_over_is_named_and_costs_no_other(config, plain, warning):
    with pytest.warns(UserWarning, match=f"config is not in run.json as it was given: {warning}") as caught:
        assert plain_config(config) == plain
    assert len(caught) == 1


def test_the_warning_points_to_the_users_line_and_comes_before_anything_is_made(emitter, tmp_path):
    with pytest.warns(UserWarning, match="entity") as caught, Collector(emitter, tmp_path, name="r", config=Lazy()):
        pass
    assert caught[0].filename == __file__
    with pytest.raises(UserWarning, match="config is not"):  # as errors, as here by default
        Collector(emitter, tmp_path, name="s", config=Lazy())
    assert not (tmp_path / "s").exists()


def test_what_refers_to_itself_or_never_ends_is_cut_there(emitter, tmp_path):
    config: dict = {"arch": "mlp", "list": [], "shared": [1]}
    config["self"] = config
    config["list"].append(config["list"])
    config["again"] = config["shared"]
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    config["deep"] = deep
    doubled: list = []
    for _ in range(40):
        doubled = [doubled, doubled]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert plain_config({"doubled": doubled})  # has 2^40 lists
        with Collector(emitter, tmp_path, name="r", config=config) as collector:
            emitter.say(1)
        del deep, config["deep"], collector
    asked = "config->>'arch', config->>'self', config->>'$.list[0]', config->>'$.again[0]'"
    (row,) = connect(tmp_path).sql(f"SELECT {asked}, config->>'deep' FROM runs").fetchall()
    assert row[:4] == ("mlp", "<contains itself>", "<contains itself>", "1")
    assert "<nested more than 50 levels deep>" in row[4]


def test_a_config_that_is_none_stays_as_it_was_when_the_run_is_resumed(new_emitter, tmp_path):
    for config in ({"arch": "mlp"}, None):
        with Collector(new_emitter(["a"]), tmp_path, name="r", config=config, resume=True):
            pass
    assert connect(tmp_path).sql("SELECT config ->> 'arch' FROM runs").fetchall() == [("mlp",)]


def test_a_data_set_among_the_options_is_not_read():
    class DataSet:
        """As Hugging Face's: `to_dict` would bring all of it into memory."""

        def __len__(self) -> int:
            return 10**9

        def to_dict(self) -> dict:
            return {"rows": "all of them"}

        def __repr__(self) -> str:
            return "1,000,000,000 rows"

    assert converted(DataSet()) == "1,000,000,000 rows"


def test_a_stand_in_of_a_test_is_a_string():
    assert isinstance(converted(MagicMock()), str)
