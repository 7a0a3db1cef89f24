"""How strongly an image excites a channel, as one number: what a search ranks images by, and what an ascent maximises.

A channel's feature map A [H, W] holds one activation for each place. Three ways to make one number of it:

    strongest unit    max of A                    the nine strongest images of Zeiler & Fergus (2014)
    whole map         mean of max(A, 0)           grows when the pattern repeats (Olah et al. 2017)
    centre unit       A in the middle             one unit, wherever its pattern is in the image (Erhan et al. 2009)

The positive part is what a ReLU passes on. A class score and a unit of a dense layer are one number already. "This
picture excites the channel more than any image" means something only where both sides are measured by one objective.
"""

from torch import Tensor

STRONGEST_UNIT, WHOLE_MAP, CENTRE_UNIT = "strongest unit", "whole map", "centre unit"
ALL = (STRONGEST_UNIT, WHOLE_MAP, CENTRE_UNIT)


def excitation(maps: Tensor, objective: str) -> Tensor:
    """`[N, C]`: one of the objectives, of feature maps `[N, C, H, W]`; units `[N, C]` as they are."""
    if maps.dim() == 2:
        return maps
    if objective == STRONGEST_UNIT:
        return maps.amax(dim=(2, 3))
    if objective == CENTRE_UNIT:
        return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    return maps.relu().mean(dim=(2, 3))
