"""Padding and enlarging maps: linear in the map. What a unit reads is known for padding only."""

import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from engine.operations.base import Call, Operation
from engine.operations.windows import Window, Windows


class Padding(Operation):
    """A border around the map, of zeros or of what the mode says."""

    modules = (nn.ZeroPad2d,)
    functions = (F.pad,)
    linear = True

    def window(self, call: Call) -> Windows | None:
        settings = call.settings(("padding",) if call.module is not None else ("pad", "mode"))
        sides = settings.get("pad", settings.get("padding", ()))
        if len(sides) < 2 or Node in map(type, sides) or settings.get("mode") == "circular":
            return None
        return Window(padding=sides[2] if len(sides) > 2 else 0), Window(padding=sides[0])


class Upsampling(Operation):
    """To a larger or smaller map."""

    modules = (nn.Upsample,)
    functions = (F.interpolate,)
    linear = True
