"""Average pooling: each unit is the mean of its window. It is linear, so its reversal needs the input's shape only."""

import torch.nn.functional as F
from torch import nn

from engine.operations.base import Call, Operation, Shapes
from engine.operations.windows import Windows, pool_in_words, pool_windows


class AveragePool(Operation):
    """With windows of a fixed size; see `flattening` for an average over whatever is there."""

    modules = (nn.AvgPool2d,)
    functions = (F.avg_pool2d,)
    linear = True

    def window(self, call: Call) -> Windows | None:
        return pool_windows(call.settings(("kernel_size", "stride", "padding")))

    def title(self, call: Call, shapes: Shapes) -> str:
        return pool_in_words("average pool", self.window(call))
