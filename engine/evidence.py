"""Evidence: what in the image is the answer based on?

Several methods answer with a picture of the image's size, which says where the evidence for one class lies. From a
layer's maps A_k [h, w], with y the logit of the class:

    class activation map   M(i, j) = sum_k w_k A_k(i, j)                     (Zhou et al. 2016, equation 2)
    Grad-CAM               relu(sum_k a_k A_k),  a_k = mean_ij dy / dA_k     (Selvaraju et al. 2017, equations 1 and 2)

and from the pixels, by playing the logit back through the whole network (`engine.deconv`):

    gradient, guided, deconvnet     of each pixel the largest size among its colours (Simonyan et al. 2013, section 3.1)

A class activation map is exact where a network averages its last maps and sums these averages with weights w_k, as a
ResNet does: then the mean of M over all places, plus the bias, *is* the logit. Here it is taken wherever everything
behind the last maps is linear, by the derivative, M = h w sum_k dy / dA_k * A_k, of which theirs is the special case.
Elsewhere Grad-CAM takes the mean derivative for the weights, which is no longer exact: a layer that a dense one reads
place by place has other weights at each place.

Limits: the maps of a deep layer are coarse (2 x 2 for a ResNet-18 at 64 px), and each unit of them sees much more than
the place where it is drawn. Guided and deconvnet pictures hardly depend on the class (see `engine.sanity`).

References: Zhou et al. (2016), "Learning deep features for discriminative localization"; Selvaraju et al. (2017),
"Grad-CAM"; Simonyan et al. (2013), "Deep inside convolutional networks".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import tape
from engine.deconv import Reconstruction, reconstruct
from engine.errors import ConvscopeError
from engine.graph import trace
from engine.operations import Dense, Flattening, Identity

RULES = ("gradient", "guided", "deconvnet")
"""`engine.deconv.RELU_RULES`, from what is exact to what is not."""


def grad_cam(model: nn.Module, image: Tensor, layer: str, label: int) -> Tensor:
    """`[h, w]`: `relu(sum_k mean(dy / dA_k) A_k)` of the maps of a layer (Selvaraju et al. 2017, equation 2).

    Args:
        model: a network in eval mode; it is only read.
        image: `[1, 3, H, W]`, normalised as the network expects.
        layer: a friendly name or a node's name; its activation is of maps.
        label: the class whose logit is y.

    Raises:
        ConvscopeError: not one image, no such class, a layer without maps or one that the answer does not depend on.
    """
    maps, gradient = _maps_and_gradient(model, image, layer, label)
    return (gradient.mean(dim=(1, 2), keepdim=True) * maps).sum(dim=0).relu()


def class_activation_map(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """`[h, w]`, signed: each place's share of the logit; their mean plus the bias is the logit (Zhou et al. 2016).

    Raises:
        ConvscopeError: what follows the last maps is not linear (see `last_maps`), not one image, no such class.
    """
    layer = last_maps(model)
    if layer is None:
        raise ConvscopeError(
            f"{type(model).__name__} has no exact class activation map: its last maps go through more than one "
            "weighted sum; use Grad-CAM."
        )
    maps, gradient = _maps_and_gradient(model, image, layer, label)
    return (gradient * maps).sum(dim=0) * maps[0].numel()


def last_maps(model: nn.Module) -> str | None:
    """The node whose maps the logits are a weighted sum of; None if there is more between them.

    Raises:
        ConvscopeError: the model cannot be traced, or does not return a single tensor.
    """
    tape.logits(model)
    graph = trace(model)
    node, way = graph.output, []
    while isinstance(graph.operations[node], Dense | Flattening | Identity):
        way.append(type(graph.operations[node]))
        node = node.all_input_nodes[0]
    return graph.names[node] if way.count(Dense) == 1 and Flattening in way else None


def of_class(model: nn.Module, image: Tensor, label: int) -> dict[str, Reconstruction]:
    """`{rule: picture}`: the logit of a class, 1 at `label`, played back to the pixels by each of `RULES`.

    Raises:
        ConvscopeError: not one image, no such class.
    """
    _check_image(image)
    recorded = tape.record(model, image, tape.logits(model))
    _check_label(recorded.activation, label)
    signal = torch.zeros_like(recorded.activation)
    signal[0, label] = 1
    return {rule: reconstruct(recorded, signal, relu=rule, gains=False) for rule in RULES}


def heat(pixels: Tensor) -> Tensor:
    """`[H, W]` of a picture `[1, 3, H, W]`: of each pixel the largest size among its colours (Simonyan et al. 2013)."""
    return pixels[0].abs().amax(dim=0)


def heats_of_class(model: nn.Module, image: Tensor, label: int) -> dict[str, Tensor]:
    """`{rule: heat [H, W]}` of the pictures of `of_class`."""
    return {rule: heat(picture.pixels) for rule, picture in of_class(model, image, label).items()}


def enlarged(coarse: Tensor, height: int, width: int) -> Tensor:
    """`[height, width]`: a map `[h, w]` laid over its image, smoothly, as in Zhou et al. (2016)."""
    return F.interpolate(coarse[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]


def _maps_and_gradient(model: nn.Module, image: Tensor, layer: str, label: int) -> tuple[Tensor, Tensor]:
    """`[C, h, w]` each: a layer's maps, and the derivative of the class's logit by them."""
    _check_image(image)
    halted = tape.halt(model, image, layer)
    if halted.activation.dim() != 4:
        raise ConvscopeError(f"The layer {layer!r} has no maps: choose one before the dense layers.")
    maps = halted.activation.detach().requires_grad_()
    with torch.enable_grad():
        logits = halted.resume(maps)
        _check_label(logits, label)
        (gradient,) = torch.autograd.grad(logits[0, label], maps)
    return maps.detach()[0], gradient[0]


def _check_image(image: Tensor) -> None:
    if image.dim() != 4 or len(image) != 1:
        raise ConvscopeError("Evidence is that of one image [1, 3, H, W]: hand over one.")


def _check_label(logits: Tensor, label: int) -> None:
    if label not in range(logits.shape[1]):
        raise ConvscopeError(f"There is no class {label}: this network knows classes 0 to {logits.shape[1] - 1}.")
