"""What layers are called: by their group, by the model, or by their place; always the same, and no two alike."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from collector import Collector, connect
from collector.recording.names import LayerNames, layer_names
from lambc import LAMBC


def group(*names: str | None, unnamed: int = 0) -> dict:
    """A parameter group with names, and after them parameters that have none."""
    params = [nn.Parameter(torch.ones(2)) for _ in range(len(names) + unnamed)]
    return {"params": params} | ({"param_names": list(names)} if names else {})


def optimizer(*groups: dict) -> SimpleNamespace:
    return SimpleNamespace(param_groups=list(groups))


def names_of(optimizers: list, models: list[nn.Module] | None = None) -> list[tuple[str, ...]]:
    names = LayerNames(models or [], optimizers)
    return [now(names, number, each) for number, each in enumerate(optimizers)]


def now(names: LayerNames, number: int, each) -> tuple[str, ...]:
    return names.of(number, each.param_groups, layer_names(each.param_groups))


@pytest.mark.parametrize(
    ("optimizers", "names"),
    [
        ([optimizer(group("a", "b"))], [("a", "b")]),
        ([optimizer(group(unnamed=2), group(unnamed=1))], [("0.0", "0.1", "1.0")]),
        ([optimizer(group("a", unnamed=1), group(unnamed=1))], [("a", "0.1", "1.0")]),
        ([optimizer(group(unnamed=2)), optimizer(group(unnamed=1))], [("0.0.0", "0.0.1"), ("1.0.0",)]),
        ([optimizer(group("w")), optimizer(group("w"))], [("0.w",), ("1.w",)]),
        ([optimizer(group("w", "v")), optimizer(group("u"))], [("w", "v"), ("u",)]),
        ([optimizer(group("w", "w"))], [("w", "w (2)")]),
        ([optimizer(group(), group("a"))], [("a",)]),
        ([optimizer(group("module.a", "module.b.c"))], [("a", "b.c")]),
        ([optimizer(group("module.module.a"))], [("a",)]),
        ([optimizer(group("module.a", "b"))], [("module.a", "b")]),
        ([optimizer(group("module.a", "module.b")), optimizer(group("c"))], [("module.a", "module.b"), ("c",)]),
        ([optimizer(group("_orig_mod.a", "b._orig_mod.c"))], [("a", "b.c")]),
        ([optimizer(group("module._orig_mod.a", "module._orig_mod.b"))], [("a", "b")]),
        ([optimizer(group("_orig_mod.module.a", "_orig_mod.module.b"))], [("a", "b")]),
        ([optimizer(group("b._checkpoint_wrapped_module.w", "b._fsdp_wrapped_module.v"))], [("b.w", "b.v")]),
        ([optimizer(group("_module.a"))], [("a",)]),
        ([optimizer(group("_forward_module.module.a"))], [("a",)]),
        ([optimizer(group("a._module"))], [("a._module",)]),
        ([optimizer(group("a", "_orig_mod.a"))], [("a", "_orig_mod.a")]),
        ([optimizer(group("_orig_mod.a", "_module.a"))], [("_orig_mod.a", "_module.a")]),
        ([optimizer(group("\ud800", "?"))], [("?", "0.?")]),
    ],
)
def test_layers_are_called_by_group_or_place_without_what_wrappers_add(optimizers, names):
    assert names_of(optimizers) == names


class Block(nn.Module):
    """What nanoGPT's model is: matrices, biases, and two layers that share one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(3, 4), nn.LayerNorm(4), nn.Linear(4, 3)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)))

    def configure_optimizers(self, new):
        """As nanoGPT has it: decay for matrices alone, and parameters without names."""
        params = {name: param for name, param in self.named_parameters() if param.requires_grad}
        decay = [param for param in params.values() if param.dim() >= 2]
        others = [param for param in params.values() if param.dim() < 2]
        return new([{"params": decay, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=0.1)


def wrapped(kind: str) -> nn.Module:
    """A model as others hand it over; each keeps the parameters themselves."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    if kind == "compile":
        return torch.compile(model)
    if kind == "compiled block":
        model[1] = torch.compile(model[1])
    elif kind == "checkpoint_wrapper":
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        model[0] = checkpoint_wrapper(model[0])
    elif kind == "DataParallel":
        return nn.DataParallel(model)
    elif kind == "DataParallel, compiled":
        return torch.compile(nn.DataParallel(model))
    return model


@pytest.mark.parametrize(
    "kind", ["as it is", "compile", "compiled block", "checkpoint_wrapper", "DataParallel", "DataParallel, compiled"]
)
@pytest.mark.parametrize("named", ["by groups", "by model"])
def test_a_wrapped_models_layers_are_called_as_the_plain_ones(kind, named):
    model = wrapped(kind)
    made = torch.optim.AdamW(model.named_parameters() if named == "by groups" else model.parameters())
    assert names_of([made], [] if named == "by groups" else [model]) == [("0.weight", "0.bias", "1.weight", "1.bias")]


def test_ddp_puts_nothing_into_names(tmp_path):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = DistributedDataParallel(wrapped("as it is"))
        made = torch.optim.AdamW(model.parameters())
        assert names_of([made], [model]) == [("0.weight", "0.bias", "1.weight", "1.bias")]
    finally:
        torch.distributed.destroy_process_group()


def test_a_model_names_parameters_by_identity_in_any_order():
    model = Block()
    made = torch.optim.AdamW(reversed(list(model.parameters())))
    assert names_of([made], [model]) == [("head.bias", "norm.bias", "norm.weight", "embed.weight")]


def test_several_unnamed_optimizers_get_their_models_names():
    first, second = Block(), nn.Linear(2, 2)
    optimizers = [torch.optim.SGD(each.parameters()) for each in (first, second)]
    assert names_of(optimizers, [first, second]) == [
        ("embed.weight", "norm.weight", "norm.bias", "head.bias"),
        ("weight", "bias"),
    ]


def test_two_models_with_names_alike_are_told_apart():
    models = [nn.Linear(2, 2), nn.Linear(2, 2)]
    apart = [("0.weight", "0.bias"), ("1.weight", "1.bias")]
    assert names_of([torch.optim.SGD(each.parameters()) for each in models], models) == apart
    together = torch.optim.SGD([param for each in models for param in each.parameters()])
    assert names_of([together], models) == [("weight", "bias", "weight (2)", "bias (2)")]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_a_pattern_may_be_of_the_models_names_though_groups_have_none(tmp_path, steps_of, new):
    model = Block()
    made = model.configure_optimizers(new)
    with Collector(made, tmp_path, name="r", model=model, include="*.weight") as collector:
        for _ in range(2):
            model(torch.tensor([0, 1])).sum().backward()
            made.step()
    layers = connect(tmp_path).sql('SELECT layer, "group" FROM layers ORDER BY position').fetchall()
    assert layers == [("embed.weight", 0), ("norm.weight", 1)]
    assert steps_of(collector.folder, "norm.weight") == [1, 2]
    assert steps_of(collector.folder, "norm.bias") == []


def step(made) -> None:
    for each in made.param_groups:
        for param in each["params"]:
            param.grad = torch.ones_like(param)
    made.step()


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
@pytest.mark.parametrize("named", [True, False])
def test_a_parameter_that_leaves_the_middle_of_a_list_takes_no_others_name_along(tmp_path, steps_of, new, named):
    params = {name: nn.Parameter(torch.ones(2)) for name in "abc"}
    made = new(params.items() if named else params.values(), lr=0.1)
    first, last = ("a", "c") if named else ("0.0", "0.2")
    with Collector(made, tmp_path, name="r") as collector:
        step(made)
        del made.param_groups[0]["params"][0]
        step(made)
        step(made)
    assert steps_of(collector.folder, first) == [1]
    assert steps_of(collector.folder, last) == [1, 2, 3]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_a_list_that_gets_another_layer_in_the_place_of_one_is_looked_at_anew(tmp_path, steps_of, new):
    model = nn.ParameterDict({name: nn.Parameter(torch.ones(2)) for name in "abc"})
    made = new([model["a"], model["b"]], lr=0.1)
    with Collector(made, tmp_path, name="r", model=model) as collector:
        step(made)
        made.param_groups[0]["params"][:] = [model["b"], model["c"]]
        step(made)
        step(made)
    assert {layer: steps_of(collector.folder, layer) for layer in "abc"} == {"a": [1], "b": [1, 2, 3], "c": [2, 3]}


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_a_list_that_changes_between_two_recorded_steps_leaves_the_layer_table_right(tmp_path, steps_of, new):
    model = nn.ParameterDict({name: nn.Parameter(torch.ones(size)) for size, name in enumerate("abc", start=1)})
    made = new([model["a"], model["b"]], lr=0.1)
    with Collector(made, tmp_path, name="r", model=model, every=4) as collector:
        step(made)
        del made.param_groups[0]["params"][0]
        step(made)
        collector.flush()
        made.param_groups[0]["params"] += [model["c"]]
        step(made)
        collector.flush()
        step(made)
    assert {layer: steps_of(collector.folder, layer) for layer in "abc"} == {"a": [1], "b": [1, 4], "c": [4]}
    layers = connect(tmp_path).sql("SELECT layer, shape FROM layers ORDER BY layer").fetchall()
    assert layers == [("a", [1]), ("b", [2]), ("c", [3])]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
@pytest.mark.parametrize("with_model", [True, False])
def test_a_parameter_that_replaces_another_is_the_same_layer(tmp_path, steps_of, new, with_model):
    model = nn.Linear(2, 2)
    made = new(model.named_parameters(), lr=0.1)
    with Collector(made, tmp_path, name="r", model=model if with_model else None) as collector:
        step(made)
        model.weight = nn.Parameter(torch.ones(3, 2))
        made.param_groups[0]["params"][0] = model.weight
        step(made)
    assert steps_of(collector.folder, "weight") == [1, 2]
    shapes = connect(tmp_path).sql("SELECT shape FROM layers WHERE layer = 'weight'").fetchall()
    assert shapes == [([3, 2],)]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
@pytest.mark.parametrize("with_model", [True, False])
def test_a_parameter_that_is_appended_is_recorded_from_then_on(tmp_path, steps_of, new, with_model):
    model = nn.Linear(2, 2)
    made = new([("weight", model.weight)], lr=0.1)
    with Collector(made, tmp_path, name="r", model=model if with_model else None) as collector:
        step(made)
        made.param_groups[0]["params"].append(model.bias)
        step(made)
    assert steps_of(collector.folder, "weight") == [1, 2]
    assert steps_of(collector.folder, "bias" if with_model else "0.1") == [2]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_groups_that_are_empty_at_first_are_recorded_once_they_are_filled(tmp_path, steps_of, new):
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    made = new([{"params": []}, {"params": []}], lr=0.1)
    with Collector(made, tmp_path, name="r", model=model) as collector:
        made.param_groups[1]["params"].extend(model["module"].parameters())
        made.param_groups[0]["params"].extend(model["head"].parameters())
        step(made)
    layers = connect(tmp_path).sql('SELECT layer, "group" FROM layers ORDER BY position').fetchall()
    assert layers == [("module.weight", 1), ("module.bias", 1), ("head.weight", 0), ("head.bias", 0)]
    assert steps_of(collector.folder, "module.bias") == [1]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_lazy_parameters_have_names_from_the_start_and_shapes_once_they_are_there(tmp_path, steps_of, new):
    model = nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2))
    made = new(model.parameters(), lr=0.1)
    with Collector(made, tmp_path, name="r", model=model) as collector:
        model(torch.ones(1, 3)).sum().backward()
        made.step()
    assert connect(tmp_path).sql("SELECT layer, shape FROM layers ORDER BY position LIMIT 2").fetchall() == [
        ("0.weight", [2, 3]),
        ("0.bias", [2]),
    ]
    assert steps_of(collector.folder, "0.weight") == [1]


@pytest.mark.parametrize("new", [LAMBC, torch.optim.AdamW])
def test_empty_and_reshaped_parameters_are_layers_as_others(tmp_path, steps_of, new):
    empty, other = nn.Parameter(torch.ones(0, 3)), nn.Parameter(torch.ones(4))
    made = new([("empty", empty), ("other", other)], lr=0.1)
    with Collector(made, tmp_path, name="r") as collector:
        step(made)
        other.data = torch.ones(2, 2)
        made.state.clear()
        other.grad = torch.ones(2, 2)
        made.step()
    assert connect(tmp_path).sql("SELECT layer, shape, parameters FROM layers ORDER BY layer").fetchall() == [
        ("empty", [0, 3], 0),
        ("other", [2, 2], 4),
    ]
    assert len(steps_of(collector.folder, "other")) == len(steps_of(collector.folder, "empty")) == 2


PLAIN = ["a", "b.a", "module", "a (2)", "a (3)", "0.0", "0.1", "1.0.0", "0.a", "0..a", "1.a", "?", "\ud800"]
WRAPPED = ["_orig_mod.a", "module.a", "module.module.a", "module.0.0", "_module.a", "b._module.a"]
NAMES = st.sampled_from(PLAIN + WRAPPED)
GROUPS = st.tuples(st.lists(NAMES, max_size=3), st.integers(0, 2)).map(lambda said: group(*said[0], unnamed=said[1]))
CHANGES = st.tuples(st.sampled_from(["append", "remove", "replace", "add a group"]), st.integers(0), st.integers(0))


@given(
    optimizers=st.lists(st.lists(GROUPS, min_size=1, max_size=2).map(lambda groups: optimizer(*groups)), max_size=3),
    changes=st.lists(CHANGES, max_size=6),
    model_names=st.lists(st.sampled_from(["a", "b", "module", "w"]), unique=True),
)
def test_no_two_layers_have_one_name_and_none_is_ever_called_otherwise(optimizers, changes, model_names):
    names = LayerNames([nn.ParameterDict({name: nn.Parameter(torch.ones(1)) for name in model_names})], optimizers)
    called: dict[tuple[int, int], str] = {}
    kept = []  # so that no id is given to another
    for change in [None, *changes]:
        if change and optimizers:
            apply(optimizers, *change)
        found = []
        for number, each in enumerate(optimizers):
            params = [param for group in each.param_groups for param in group["params"]]
            kept += params
            for param, name in zip(params, now(names, number, each), strict=True):
                found.append(name)
                assert called.setdefault((number, id(param)), name) == name
                name.encode()
        assert len(set(found)) == len(found)


def apply(optimizers: list, kind: str, which: int, where: int) -> None:
    """Change a list of an optimizer's group, as training code does."""
    groups = optimizers[which % len(optimizers)].param_groups
    params = groups[which % len(groups)]["params"]
    if kind == "append":
        params.append(nn.Parameter(torch.ones(2)))
    elif kind == "add a group":
        groups.append(group(unnamed=1))
    elif params and kind == "remove":
        del params[where % len(params)]
    elif params:
        params[where % len(params)] = nn.Parameter(torch.ones(2))
