"""What frozen layers answer is computed once per image, and kept on disk: a transfer then takes minutes, not hours.

A recipe with `train_last` trains the end of a network only. The layers before it never change, and in evaluation mode
they say the same of an image in every epoch:

    logits = end(start(image))        start: frozen, most of the network; end: what is trained
                 ^ kept               16 bits per number, one file per set of images

So the images must stay as they are. A mirror image is another image, whose features are kept beside it. Shifted and
covered ones (`crop_padding`, `cutout`) would be new in each epoch: of those as many `views` of each image are kept as
the recipe says, and each step draws one of them, or the image itself.

Where it is cut: at the last value before any trained layer that all paths run through. Inside a residual block two
values cross, so the cut is in front of the block, and its few frozen layers are computed anew in each step.

A file's name carries the SHA-256 of the frozen layers, the images and all else that decides its numbers: another
network or another size is another file, and runs that share them share the file. A file that is cut short is gone on
with. All may be deleted.

Reference: Yosinski et al. (2014), "How transferable are features in deep neural networks?".
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine import settings
from engine.accuracy.predictions import Predictions
from engine.data import LabelledImages, prepare
from engine.errors import ConvscopeError
from engine.evaluation import PIXELS_AT_ONCE, images_at_once
from engine.files import not_writable
from engine.graph import Graph, trace
from engine.graph.runs import Values, compute, forward
from engine.operations import Call, Operation
from engine.training import lock
from engine.training.batches import Batches, generator
from engine.training.datasets import Splits, measured
from engine.training.recipe import Recipe
from engine.training.start import trained_keys, trained_modules
from engine.training.step import number_type
from engine.training.team import ALONE, Team

AT_ONCE = 100
"""Images whose features are written, or read, together."""
PIXELS = 100 * 64 * 64
"""Of images that go through the frozen layers together on a processor: few enough for its cache."""
TRAIN, VALIDATION, VIEWS = range(3)
"""The sets of images of a run; the views of the training images are the third and those that follow."""

# The cut -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A network in two: what comes before the value of `node`, that value included, and what comes after."""

    graph: Graph
    node: Node

    def before(self, model: nn.Module, x: Tensor) -> Tensor:
        """The features `[N, C, H, W]` of the network's input `[N, 3, H, W]`, which is overwritten."""
        return forward(model, self.graph, {self.node}, x, _in_place)[self.node]

    def after(self, model: nn.Module, features: Tensor) -> Tensor:
        """The logits `[N, K]` of features."""
        logits = self.graph.output
        return forward(model, self.graph, {logits}, features, compute, {self.node: features})[logits]


def cut_before_training(model: nn.Module, last: int) -> Cut:
    """Where `model` is cut whose last `last` convolutions are trained; the model is left in evaluation mode.

    Raises:
        ConvscopeError: it cannot be cut: it has no graph, or one for each size, or all of it is trained.
    """
    graph = trace(model.eval())
    path = graph.path_to(graph.output) if graph.output is not None and graph.shape is None else ()
    trained = {id(module) for module in trained_modules(model, last)}
    last_reader = {source: place for place, node in enumerate(path) for source in node.all_input_nodes}
    node, reach = graph.input, 0
    for place, candidate in enumerate(path):
        if _is_trained(graph, model, candidate, trained):
            break
        node = candidate if reach <= place else node
        reach = max(reach, last_reader.get(candidate, place))
    if node is graph.input:
        raise ConvscopeError(
            f"Nothing of {type(model).__name__} can be kept: its first layers are trained, or it cannot be cut in two; "
            "write keep_frozen = false into the recipe."
        )
    return Cut(graph, node)


def _in_place(call: Call, operation: Operation, values: Values) -> Any:
    """What the network computes there, overwriting what it overwrites."""
    args, kwargs = map_arg((call.node.args, call.node.kwargs), values.__getitem__)
    return call.function(*args, **kwargs)


def folded(model: nn.Module, graph: Graph) -> nn.Module:
    """A copy in evaluation mode in which batch norms have become part of the convolutions that they normalise.

    Its answers are those of `model` up to rounding, in little more than half of the time: batch norm does little with
    each number, and has to fetch them all from memory once more.
    """
    copy = deepcopy(model).eval()
    calls = Counter(node.target for node in graph.nodes)
    for pair in graph.normalised.items():
        convolution, norm = (copy.get_submodule(str(node.target)) for node in pair)
        if isinstance(convolution, nn.Conv2d) and all(calls[node.target] == 1 for node in pair):
            copy.set_submodule(str(pair[0].target), fuse_conv_bn_eval(convolution, norm))
            copy.set_submodule(str(pair[1].target), nn.Identity())
    return copy.to(memory_format=torch.channels_last)


def _is_trained(graph: Graph, model: nn.Module, node: Node, trained: set[int]) -> bool:
    call = graph.call(model, node)
    if node.op == "get_attr":
        return bool(getattr(call.constant(node), "requires_grad", False))
    return call.module is not None and id(call.module) in trained


class End(nn.Module):
    """The part of `model` that is trained, as a network of its own: features in, logits out."""

    def __init__(self, model: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.model, self.cut = model, cut

    def forward(self, features: Tensor) -> Tensor:
        return self.cut.after(self.model, features)


# The files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureFile:
    """The features of `count` images, one after the other: float16 `[H, W, C]` each, channels last."""

    path: Path
    count: int
    shape: tuple[int, int, int]

    @property
    def row(self) -> int:
        """Bytes of one image's features."""
        return 2 * int(np.prod(self.shape))

    @property
    def done(self) -> int:
        """How many images it has."""
        return min(self.count, self.path.stat().st_size // self.row) if self.path.exists() else 0

    def append(self, features: Tensor) -> None:
        """Add the features `[N, C, H, W]` of the next images.

        Raises:
            ConvscopeError: they cannot be written, or are beyond what 16 bits can hold.
        """
        rows = features.permute(0, 2, 3, 1).half().cpu().contiguous().numpy()
        if not np.isfinite(rows).all():
            raise ConvscopeError("What the frozen layers answer is beyond 16 bits: write keep_frozen = false.")
        begin = self.done * self.row
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
                file.truncate(begin)
                file.seek(begin)
                file.write(rows.data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConvscopeError(not_writable(self.path, error)) from error

    def rows(self) -> np.memmap:
        """float16 `[count, H, W, C]`, which stays on disk until it is looked at."""
        return np.memmap(self.path, np.float16, "r", shape=(self.count, *self.shape))


class FrozenStart:
    """The frozen layers of `model`, and the files of what they answer.

    Args:
        model: at the start of the run, with its first layers frozen.
        folder: of the files; None for the usual one.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device, folder: Path | None = None) -> None:
        self.model, self.recipe, self.device = model, recipe, device
        self.folder = folder or settings.folders.features
        self.cut = cut_before_training(model, recipe.train_last)
        self.folded = folded(model, self.cut.graph)
        self.fingerprint = self._fingerprint()

    def file(self, images: np.ndarray) -> FeatureFile:
        """Where the features of `images` uint8 `[N, H, W, 3]` are kept, whether they are there or not."""
        digest = hashlib.sha256(f"{self.fingerprint} {images.shape}".encode())
        digest.update(np.ascontiguousarray(images).data)
        name = f"{self.recipe.architecture}-{self.recipe.input_size}px-{digest.hexdigest()[:16]}.f16"
        _, channels, height, width = self._features(images[:1]).shape
        return FeatureFile(self.folder / name, len(images), (height, width, channels))

    def keep(self, images: np.ndarray) -> Iterator[int]:
        """Compute the features of `images` that are not on disk yet; gives how many there are by now.

        Raises:
            ConvscopeError: they cannot be written, or another process computes some.
        """
        file = self.file(images)
        if file.done == file.count:
            return
        with lock.held(self.folder / "lock"):
            while (begin := file.done) < file.count:
                file.append(self._features(images[begin : begin + AT_ONCE]))
                yield file.done

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """The features `[N, C, H, W]` of the network's input `[N, 3, H, W]`, in the recipe's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            return self.cut.before(self.folded, x.to(number_type(self.recipe)))

    def _features(self, images: np.ndarray) -> Tensor:
        """Of at most `AT_ONCE` images, which may be too many to go through together."""
        size, on_processor = self.recipe.input_size, self.device.type == "cpu"
        step = images_at_once(AT_ONCE, size, PIXELS if on_processor else PIXELS_AT_ONCE)
        parts = []
        for begin in range(0, len(images), step):
            pixels = torch.from_numpy(images[begin : begin + step].copy()).to(self.device)
            parts.append(self.answer(prepare(pixels, size, *self.recipe.statistics)))
        return torch.cat(parts)

    def _fingerprint(self) -> str:
        recipe = self.recipe
        how = (recipe.architecture, self.cut.node.name, recipe.input_size, recipe.statistics, recipe.precision)
        digest = hashlib.sha256(repr(how).encode())
        trained = trained_keys(self.model, recipe.train_last)
        for key, value in self.model.state_dict().items():
            if key not in trained:
                digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


# The features of a run -----------------------------------------------------------------------------------------


def views(recipe: Recipe) -> int:
    """How many views of each training image are kept besides the image itself."""
    return recipe.views or int(recipe.flip)


class FrozenFeatures(Batches):
    """Batches of features in place of images, and the figures of a network that are measured on them.

    `keep` must have been run to its end before the first of them is drawn.
    """

    def __init__(
        self, model: nn.Module, splits: Splits, recipe: Recipe, device: torch.device, team: Team = ALONE
    ) -> None:
        super().__init__(splits.train, recipe, device, team)
        self.splits = splits
        self.start = FrozenStart(model, recipe, device)
        self.views = views(recipe)
        self.mapped: list[np.memmap] = []

    @property
    def count(self) -> int:
        """Of how many images features are kept, views counted."""
        return (1 + self.views) * len(self.splits.train) + len(self.splits.validation)

    def images(self) -> Iterator[np.ndarray]:
        """uint8 `[N, H, W, 3]`: the training images, those of validation, and the views of the training images."""
        yield self.splits.train.images
        yield self.splits.validation.images
        if not self.recipe.views and self.views:
            yield self.splits.train.images[:, :, ::-1]
        for number in range(self.recipe.views):
            everyone = torch.arange(len(self.splits.train), device=self.device)
            random = generator(self.recipe.seed, number)
            yield super()._augmented(everyone, random, slice(None)).cpu().numpy()

    def keep(self) -> Iterator[int]:
        """Compute what is not on disk yet; gives how many images are done.

        Raises:
            ConvscopeError: as `FrozenStart.keep`.
        """
        before = 0
        for images in self.images():
            yield before
            yield from (before + done for done in self.start.keep(images))
            before += len(images)
        yield before

    def end_of(self, model: nn.Module) -> nn.Module:
        """The part of `model`, a network like the run's, that reads features."""
        return End(model, self.start.cut)

    def network_input(self, batch: Tensor, pixels: int) -> Tensor:
        """Features as the trained layers take them."""
        return batch.to(self.device, number_type(self.recipe))

    @torch.no_grad()
    def predictions(self, model: nn.Module) -> tuple[Predictions, Predictions]:
        """Of a network in evaluation mode: for the training images that are measured, and for validation."""
        train, end = self.splits.train, self.end_of(model).eval()
        sample = measured(self.recipe, len(train))
        sets = ((TRAIN, sample, train), (VALIDATION, np.arange(len(self.splits.validation)), self.splits.validation))
        return tuple(self._predictions(end, which, rows, data) for which, rows, data in sets)

    def _predictions(self, end: nn.Module, which: int, rows: np.ndarray, data: LabelledImages) -> Predictions:
        parts = [rows[begin : begin + AT_ONCE] for begin in range(0, len(rows), AT_ONCE)]
        logits = [end(self.network_input(self._rows(which, part), 0)).float().cpu() for part in parts]
        return Predictions(torch.cat(logits).numpy(), data.labels[rows])

    def _augmented(self, indices: Tensor, random: torch.Generator, share: slice) -> Tensor:
        """Features float16 `[B, C, H, W]`, of the images themselves or of any view of them."""
        drawn = torch.randint(1 + self.views, (len(indices),), generator=random)
        mine, drawn = indices[share].cpu().numpy(), drawn[share].numpy()
        features = self._rows(TRAIN, mine)
        for place in np.flatnonzero(drawn):
            features[place] = self._rows(VIEWS + drawn[place] - 1, mine[place : place + 1])[0]
        return features

    def _rows(self, which: int, rows: np.ndarray) -> Tensor:
        """float16 `[N, C, H, W]`, channels last in memory, of these rows of one of the sets."""
        if not self.mapped:
            self.mapped = [self.start.file(images).rows() for images in self.images()]
        return torch.from_numpy(self.mapped[which][rows]).permute(0, 3, 1, 2)
