"""Operations on each place alone, other than ReLU: sigmoid, SiLU, products ... Reversed by their derivative there."""

import operator

import torch
import torch.nn.functional as F
from torch import nn

from engine.operations.base import Call, Operation, Shapes
from engine.operations.windows import HERE, Windows


class Elementwise(Operation):
    """Each unit of the output reads the place where it is itself (all channels of it, at most), and no other."""

    modules = (
        *(nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.GELU, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Tanh),
        *(nn.Softplus, nn.Mish, nn.CELU, nn.SELU, nn.Hardtanh, nn.LocalResponseNorm),
    )
    functions = (
        *(operator.mul, operator.imul, operator.truediv, operator.itruediv, operator.neg),
        *(torch.mul, torch.div, torch.sigmoid, torch.tanh),
        *(F.silu, F.hardswish, F.hardsigmoid, F.sigmoid, F.gelu, F.elu, F.leaky_relu, F.tanh, F.softplus, F.mish),
    )
    methods = ("mul", "div", "mul_", "div_", "sigmoid", "tanh")
    keeps_places = True

    def recognises(self, call: Call) -> bool:
        return super().recognises(call) and not isinstance(call.module, nn.ReLU6)  # which is a Hardtanh to PyTorch

    def title(self, call: Call, shapes: Shapes) -> str:
        return "product" if call.name in ("mul", "imul") else super().title(call, shapes)


class LayerNorm(Operation):
    """Layer norm: over the channels of one place, or over the whole map, whatever shape it is built for."""

    modules = (nn.LayerNorm,)
    functions = (F.layer_norm,)

    def window(self, call: Call) -> Windows | None:
        shape = call.settings(("normalized_shape",))["normalized_shape"]
        return HERE if isinstance(shape, list | tuple) and len(shape) == 1 else None
