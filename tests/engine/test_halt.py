"""A pass that halts at a layer and goes on from there gives what the whole pass gives."""

import pytest
import torch
from torch import nn

from engine import tape
from engine.errors import ConvscopeError
from engine.graph import trace
from tests.oracles import Chunked, InPlaceShortcut, Lambda, assert_same, images, network, noise, randomised

NETWORKS = ["resnet18", "app:model_two"]


@pytest.mark.parametrize("name", NETWORKS)
def test_going_on_gives_the_networks_answer_from_any_layer(name: str) -> None:
    model, x = network(name), images(name, 2)
    expected = model(x)
    for layer in list(tape.layers(model))[::3]:
        halted = tape.halt(model, x, layer)
        assert torch.equal(halted.activation, tape.features(model, x, layer))
        assert_same(halted.resume(halted.activation), expected)


@pytest.mark.parametrize("network_type", [InPlaceShortcut, Chunked])
def test_going_on_from_every_node_that_holds_a_tensor(network_type: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = randomised(network_type()), noise((1, 3, 9, 9))
    expected = model(x * 1)
    graph = trace(model)
    nodes = [graph.names[node] for node in graph.path_to(graph.output) if node.op != "get_attr"]
    for name in nodes:
        halted = tape.halt(model, x, name)
        assert_same(halted.resume(halted.activation), expected)


def test_only_what_comes_after_is_computed_and_what_is_beside_is_kept() -> None:
    model, x = network("resnet18"), images("resnet18")
    within = tape.halt(model, x, "layer2.0.bn1", beside=["conv1"])
    assert_same(within.beside["conv1"], tape.features(model, x, "conv1"))
    beside = tape.features(model, x, "layer2.0.downsample.1")  # all that goes past this batch norm
    assert within.bytes == within.activation.nbytes + beside.nbytes
    after = tape.halt(model, x, "conv3_x")
    assert after.bytes == after.activation.nbytes
    with torch.no_grad():
        expected = model.fc(model.avgpool(model.layer4(model.layer3(2 * after.activation))).flatten(1))
    assert_same(after.resume(2 * after.activation), expected)


def test_the_batch_is_not_kept_in_memory() -> None:
    halted = tape.halt(network("resnet18"), images("resnet18", 4), "conv3_x")
    kept = [value for value in vars(halted).values() if isinstance(value, torch.Tensor)]
    assert [value.untyped_storage().nbytes() for value in kept] == [value.nbytes for value in kept]


def test_a_layer_that_the_answer_does_not_depend_on_is_refused() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        self.unread(x)
        return self.head(x.mean(dim=(2, 3)))

    model = Lambda(forward, unread=nn.Conv2d(3, 2, 1), head=nn.Linear(3, 2)).double().eval()
    with pytest.raises(ConvscopeError, match="does not depend on"):
        tape.halt(model, noise((1, 3, 8, 8)), "unread")
    with pytest.raises(ConvscopeError, match="no layer 'nowhere'"):
        tape.halt(model, noise((1, 3, 8, 8)), "nowhere")
