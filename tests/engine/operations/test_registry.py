"""Every call is of one kind, and one file is enough for a new one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import operations
from engine.graph import trace
from engine.operations import OPERATIONS, Operation
from engine.operations.other import Other
from tests.engine.operations.checks import assert_reversed_like_autograd, last_row, operation_at_the_end
from tests.oracles import SIZES, Lambda, network, noise


@pytest.mark.parametrize("name", SIZES)
def test_no_call_is_of_two_kinds(name: str) -> None:
    model = network(name)
    graph = trace(model)
    for node in graph.nodes:
        kinds = [operation for operation in OPERATIONS if operation.recognises(graph.call(model, node))]
        assert len(kinds) <= 1, (node, kinds)


@pytest.mark.parametrize(
    "module",
    [
        *(nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, 1), nn.BatchNorm2d(3)),
        *(nn.Dropout(), nn.Identity(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(4, 4), nn.Unflatten(1, (3, 1)), nn.Upsample(4), nn.ZeroPad2d(1), nn.LayerNorm(4), nn.SiLU()),
    ],
)
def test_each_module_is_of_one_kind(module: nn.Module) -> None:
    model = nn.Sequential(module).eval()
    graph = trace(model)
    call = graph.call(model, graph.output)
    assert len([operation for operation in OPERATIONS if operation.recognises(call)]) == 1


def test_what_nobody_knows_is_reversed_by_its_vector_jacobian_product() -> None:
    model = Lambda(lambda net, x: torch.cumsum(x, 2) ** 2).eval()
    assert isinstance(operation_at_the_end(model), Other)
    assert_reversed_like_autograd(model, noise((1, 3, 5, 4)))
    row = last_row(model)
    assert (row.title, row.multiply_adds) == ("pow", 0)
    assert row.receptive_field.whole


FLIP = """
from engine.operations.base import Operation, Record


class FlipRecord(Record):
    def reverse(self, signal, rules):
        return (signal.flip(3),)


class Flip(Operation):
    methods = ("flip",)
    words = "mirror image"

    def record(self, call, x, axis):
        return self.run(call, x, axis), FlipRecord()
"""


def test_a_file_in_the_folder_is_a_new_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flip_of_a_test.py").write_text(FLIP)
    monkeypatch.setattr(operations, "__path__", [*operations.__path__, str(tmp_path)])
    collected: list[Operation] = operations.collected()
    assert [type(operation) for operation in OPERATIONS] == [
        type(operation) for operation in collected if type(operation).__name__ != "Flip"
    ]
    monkeypatch.setattr(operations, "OPERATIONS", collected)
    model = Lambda(lambda net, x: x.flip(3)).eval()
    assert type(operation_at_the_end(model)).__name__ == "Flip"
    assert_reversed_like_autograd(model, noise((1, 3, 5, 4)))
    assert last_row(model).title == "mirror image"
