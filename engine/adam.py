"""Adam, for a picture that is optimised (Kingma & Ba 2015, algorithm 1).

    m = b1 m + (1 - b1) g        the gradient g, averaged over the last steps
    v = b2 v + (1 - b2) g^2      its square, averaged over more of them
    x = x - rate * m' / (sqrt(v') + 1e-8)        m' = m / (1 - b1^t), v' = v / (1 - b2^t): averages that began with 0

with b1 = 0.9 and b2 = 0.999, so each number moves by about `rate`, whatever the size of its gradient.

PyTorch computes the step. Its class for networks, `torch.optim.Adam`, loads PyTorch's compiler before the first one: a
second for whoever waits for the first picture, and 100 MB of a server's memory.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim.adam import adam

AVERAGED, AVERAGED_SQUARES, SMALLEST = 0.9, 0.999, 1e-8
"""b1, b2, and what keeps the quotient finite where a gradient is zero."""


@dataclass
class Adam:
    """Where the steps of one tensor come from.

    Attributes:
        values: what is changed, in place; of any shape.
        rate: about how far each of its numbers moves in a step, in the numbers' own units.
        maximize: whether the steps go up.
    """

    values: Tensor
    rate: float
    maximize: bool = False
    _averages: tuple[Tensor, Tensor] = field(init=False)
    _count: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._averages = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self._count = torch.zeros(())

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the values once, by a `gradient` of their shape."""
        first, second = self._averages
        adam(
            [self.values],
            [gradient],
            [first],
            [second],
            max_exp_avg_sqs=[],
            state_steps=[self._count],
            amsgrad=False,
            beta1=AVERAGED,
            beta2=AVERAGED_SQUARES,
            lr=self.rate,
            weight_decay=0,
            eps=SMALLEST,
            maximize=self.maximize,
        )
