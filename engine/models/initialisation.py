"""The random weights that a network starts with.

    default    the architecture's own, as its constructor draws them
    xavier     uniform, variance 2 / (inputs + outputs) of a unit    Glorot & Bengio (2010), equation 16
    kaiming    normal, variance 2 / inputs of a unit                 He et al. (2015), equation 10

Glorot's rule keeps the size of signals in a chain of linear layers, He's in a chain of layers with ReLUs, each of
which loses half of them. Batch norm restores that size after each layer, whatever the weights.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

_RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
}
INITIALISATIONS = ("default", *_RULES)


def initialise_(model: nn.Module, rule: str) -> None:
    """Draw the weights of all convolutions and dense layers by a rule of `INITIALISATIONS`.

    Their biases become zero; "default" leaves everything as it is.
    """
    if rule == "default":
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _RULES[rule](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
