"""Attention: what it costs, and that its parameters are counted where they are used."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
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


def of_tokens(batch_first: bool) -> nn.Module:
    """Attention, and a dense layer at each place, on [N, L, C] or on [L, N, C], as PyTorch has it unless asked."""
    axes, places = ((0, 2, 1), 1) if batch_first else ((2, 0, 1), 0)

    def forward(net: Any, x: Tensor) -> Tensor:
        tokens = net.stem(x).flatten(2).permute(axes)
        return net.dense(net.heads(query=tokens, key=tokens, value=tokens)[0]).mean(places)

    heads = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    return Lambda(forward, stem=nn.Conv2d(3, 8, 4, stride=4), heads=heads, dense=nn.Linear(8, 5))


@pytest.mark.parametrize("batch_first", [True, False])
def test_it_costs_the_same_wherever_the_batch_stands(batch_first: bool) -> None:
    assert_reversed_like_autograd(randomised(of_tokens(batch_first)), noise((2, 3, 16, 16)))
    shapes = of_tokens(batch_first).eval().to("meta")
    assert describe(shapes, 16).multiply_adds == counted_by_torch(shapes, 16)


@pytest.mark.parametrize("named", [True, False])
def test_attention_as_a_function(named: bool) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        query, key, value = (part(x).flatten(2).transpose(1, 2) for part in (net.a, net.b, net.c))
        attend = F.scaled_dot_product_attention
        return attend(query=query, key=key, value=value) if named else attend(query, key, value)

    sizes = {"a": (4, 3), "b": (4, 5), "c": (6, 5)}
    model = randomised(Lambda(forward, **{name: nn.Conv2d(3, *size) for name, size in sizes.items()}))
    assert_reversed_like_autograd(model, noise((1, 3, 8, 8)))
    assert describe(model, 8).multiply_adds == counted_by_torch(model, 8)


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
