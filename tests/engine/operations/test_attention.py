"""Attention: what it costs, and that its parameters are counted where they are used."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from engine.models import parameter_count
from engine.network import describe
from tests.engine.operations.checks import assert_reversed_like_autograd, counted_by_torch, last_row
from tests.oracles import Lambda, noise, randomised


def vision_transformer() -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
    model = VisionTransformer(**sizes, num_classes=5)
    nn.init.normal_(model.heads.head.weight)  # torchvision starts with zeros, which send nothing back
    return model


def swin() -> nn.Module:
    sizes = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": [3, 5]}
    return SwinTransformer(**sizes, num_classes=5)


@pytest.mark.parametrize("build", [vision_transformer, swin])
def test_a_transformer_is_reversed_like_autograd_and_costs_what_torch_counts(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = randomised(build())
    assert_reversed_like_autograd(model, noise((1, 3, 32, 32)))
    table, shapes = describe(model, 32), build().eval().to("meta")
    assert table.multiply_adds == describe(shapes, 32).multiply_adds == counted_by_torch(shapes, 32)
    assert (table.parameters, table.unused) == (parameter_count(model), 0)
    assert sum(row.title == "self-attention" for row in table.operations) > 1


PRODUCTS = [
    lambda net, x: net.a(x) @ net.b(x).transpose(2, 3),
    lambda net, x: torch.matmul(net.a(x), net.b(x).transpose(2, 3)),
    lambda net, x: torch.einsum("N C I D, N C J D -> N C I J", net.a(x), net.b(x)),
    lambda net, x: torch.einsum("nc...,nd...->ncd", net.a(x), net.b(x)),
    lambda net, x: torch.einsum("...ij,...jk->...ik", net.a(x), net.b(x)[0]),
]


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_of_two_activations(product: Callable) -> None:
    model = randomised(Lambda(product, a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 4, 3)))
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert describe(model, 8).multiply_adds == counted_by_torch(model, 8)
    assert last_row(model).receptive_field.whole
