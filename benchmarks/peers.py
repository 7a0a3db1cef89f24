"""How fast is each way to look into a network, beside a peer that does the same, and beside what the processor allows?

    OMP_NUM_THREADS=1 python benchmarks/peers.py [reconstruction inversion maximisation patches evidence evaluation]

On the shipped ResNet-18. Both sides take turns in one process; a row has the medians over some rounds, of the
processor's time, which other work on the machine disturbs less than the clock's (with one thread the two are the same
on a quiet machine). The ratio is the median of the rounds' ratios. Two bounds stand beside it:

- the floor is the time that our multiplications, as PyTorch counts them, would take at the speed of the best product of
  two 1024 x 1024 matrices, measured at the start: no more is to be had from this processor without fewer of them;
- "at best" is the ratio that we would have if nothing but PyTorch's own functions took any time, which we call: it is
  what is left to gain from our Python, with the same calls.

The output is the table of docs/benchmarks.md. Peers get frozen weights, and run as their users run them:

- Captum: `NeuronDeconvolution`, `Occlusion`, `LayerGradCam`;
- inversion: the same loss from the same noise, but with a hook, so through the whole network, by Adam and by the
  authors' schedule (Mahendran & Vedaldi 2015), gradient descent with momentum 0.9 at rates that fall;
- maximisation: the same Fourier pictures as torch-lucent climbs, with a hook, and one channel after the other;
- strongest patches: forward hooks on every stage that keep the maxima, over a DataLoader;
- evaluation: a DataLoader with torchvision's transforms; and forward passes on batches that lie ready in memory.
"""

import copy
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import captum
import torch
from captum.attr import LayerGradCam, NeuronDeconvolution, Occlusion
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula
from torchvision import transforms

from benchmarks.inversion import GOAL, until_goal
from benchmarks.training import Pictures
from engine import checkpoints, data, deconv, evidence, inversion, occlusion, patches, tape
from engine.evaluation import evaluate
from engine.inversion import MAHENDRAN_VEDALDI
from engine.maximization import maximize
from engine.maximization.fourier import Canvas, Fourier
from engine.objectives import STRONGEST_UNIT

TRAINED = checkpoints.load("resnet18")
MODEL, CARD = TRAINED.model, TRAINED.card
HOW = {"input_size": CARD.input_size, "mean": CARD.mean, "std": CARD.std}
TEST = data.bundled("test")
IMAGES = 200
"""Of the 10,000 bundled test images."""
UNITS = 16
ASCENT = 8
"""Steps of a maximisation; its price is the same for each."""
STAGES = {"conv1_relu": "relu", "conv2_x": "layer1", "conv3_x": "layer2", "conv4_x": "layer3", "conv5_x": "layer4"}
"""Our names, and those of torchvision's modules."""
RATES = {"conv2_x": 100.0, "conv5_x": 3.0}
"""Of the authors' schedule, the first one: of 1, 3, 10, 30 ... 1000 those that reach the goal in the fewest steps."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Contest:
    """One row: `theirs` is multiplied by `times`, where it does only that part of our work."""

    what: str
    peer: str
    ours: Work
    theirs: Work
    times: int = 1
    rounds: int = 9


def processor_seconds(work: Work) -> float:
    """What `work` takes, in all threads together."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def fastest_product() -> float:
    """Operations per second of the best of some matrix products: two for each multiplication."""
    first, second = torch.rand(2, 1024, 1024)
    return 2 * 1024**3 / min(processor_seconds(lambda: first @ second) for _ in range(60))


@register_flop_formula(torch.ops.mkldnn._convolution_pointwise)
def _prepacked(maps: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size) -> int:
    return conv_flop_count(maps, weight, out_shape)


@register_flop_formula(torch.ops.mkldnn._convolution_transpose_pointwise)
def _prepacked_transposed(maps: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size) -> int:
    return conv_flop_count(maps, weight, out_shape, transposed=True)


class Calls(TorchDispatchMode):
    """PyTorch's functions: the seconds they take, and the operations of its products, two for each multiplication."""

    operations, seconds = 0, 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        begun = time.process_time()
        value = function(*args, **(kwargs or {}))
        self.seconds += time.process_time() - begun
        if count := flop_registry.get(function._overloadpacket):
            self.operations += count(*args, **(kwargs or {}), out_val=value)
        return value


def calls(work: Work) -> Calls:
    """Those of `work`."""
    with Calls() as found:
        work()
    return found


def row(contest: Contest, peak: float) -> str:
    """The contest, as a line of a Markdown table."""
    contest.theirs()
    contest.ours()
    rounds, found = [], []
    for _ in range(contest.rounds):
        rounds.append([processor_seconds(work) for work in (contest.theirs, contest.ours)])
        contest.theirs()  # our calls find the processor's cache as we do
        found.append(calls(contest.ours))
    theirs, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = contest.times * statistics.median(their / our for their, our in rounds)
    floor = found[0].operations / peak
    best = contest.times * theirs / statistics.median(each.seconds for each in found)
    columns = [contest.what, contest.peer, milliseconds(contest.times * theirs), milliseconds(ours)]
    return f"| {' | '.join(columns)} | **{ratio:.1f}** | {best:.1f} | {milliseconds(floor)} | {floor / ours:.0%} |"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.{1 if seconds < 0.1 else 0}f} ms"


def image(size: int = CARD.input_size) -> Tensor:
    """The first test image as the network takes it."""
    return data.prepare(TEST.images[:1], size, CARD.mean, CARD.std)


def peers_copy() -> nn.Module:
    """A network of the peer's own, without operations in place, which Captum cannot hook."""
    model = copy.deepcopy(MODEL)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


# Reconstruction ------------------------------------------------------------------------------------------------


def reconstruction() -> Iterator[Contest]:
    """One unit, its recording included or at hand, and the strongest units of several channels."""
    for size in (64, 224):
        for layer in ("conv1_relu", "conv3_x", "conv5_x"):
            x = image(size)
            recorded = tape.record(MODEL, x, layer)
            channels = deconv.strongest_channels(recorded.activation, UNITS)
            signals = deconv.unit_signals(recorded.activation, channels)
            place = tuple(signals[0].nonzero()[0].tolist())
            model = peers_copy()
            captums = NeuronDeconvolution(model, model.get_submodule(STAGES[layer]))
            theirs = partial(captums.attribute, x.clone().requires_grad_(), place)
            cold = partial(one_unit, x, layer, channels[0])
            what = f"{size} px, {layer}"
            yield Contest(f"{what}, 1 unit, with recording", "Captum", cold, theirs)
            play = partial(deconv.reconstruct, recorded, gains=False)
            yield Contest(f"{what}, 1 unit, recorded", "Captum", partial(play, signals[:1]), theirs)
            yield Contest(f"{what}, {UNITS} units, recorded", "Captum", partial(play, signals), theirs, times=UNITS)


def one_unit(x: Tensor, layer: str, channel: int) -> Tensor:
    """From the image to the picture of a channel's strongest unit."""
    recorded = tape.record(MODEL, x, layer)
    return deconv.reconstruct(recorded, deconv.strongest_unit(recorded.activation, channel), gains=False).pixels


# Optimised images ----------------------------------------------------------------------------------------------


class Hooked:
    """A network that runs from end to end, and the output of one of its modules."""

    def __init__(self, layer: str) -> None:
        self.model = peers_copy()
        self.model.get_submodule(STAGES[layer]).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.output = output

    def __call__(self, x: Tensor) -> Tensor:
        self.model(x)
        return self.output


def inversions() -> Iterator[Contest]:
    """Until the relative feature error is below the goal, from the same noise, with the same prior."""
    x = image()
    for layer, rate in RATES.items():
        network = Hooked(layer)
        ours = partial(until_goal, x, layer, MAHENDRAN_VEDALDI)
        for peer, optimizers in {"authors' schedule": partial(schedule, rate), "Adam, whole network": adam}.items():
            theirs = partial(descend, network, x, optimizers)
            yield Contest(f"inversion of {layer} to an error of {GOAL}", peer, ours, theirs, rounds=3)


Optimizers = Iterator[torch.optim.Optimizer]
"""One for each step."""


def schedule(rate: float, picture: Tensor) -> Optimizers:
    """Mahendran & Vedaldi (2015): momentum begins anew at each rate."""
    for steps, share in ((100, 1), (200, 0.1), (100, 0.01)):
        yield from [torch.optim.SGD([picture], share * rate, momentum=0.9)] * steps


def adam(picture: Tensor) -> Optimizers:
    yield from [torch.optim.Adam([picture], inversion.RATE)] * 400


def descend(network: Hooked, x: Tensor, optimizers: Callable[[Tensor], Optimizers]) -> int:
    """How many steps it takes."""
    target = network(x).detach()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    picture = (inversion.START_NOISE * noise).requires_grad_()
    for number, optimizer in enumerate(optimizers(picture)):
        error = (network(picture) - target).square().sum() / target.square().sum()
        if error < GOAL:
            return number
        optimizer.zero_grad()
        alpha = MAHENDRAN_VEDALDI.alpha_weight * inversion.alpha_norm(picture, MAHENDRAN_VEDALDI.alpha)
        variation = MAHENDRAN_VEDALDI.variation_weight * inversion.total_variation(picture, MAHENDRAN_VEDALDI.beta)
        (error + alpha + variation).backward()
        optimizer.step()
    raise SystemExit(f"The peer does not reach an error of {GOAL}: choose another rate.")


def maximisation() -> Iterator[Contest]:
    canvas = Canvas(CARD.input_size, CARD.mean, CARD.std)
    for layer in ("conv3_x", "conv5_x"):
        ours = partial(lambda layer: list(maximize(MODEL, layer, range(UNITS), canvas=canvas, steps=ASCENT)), layer)
        what = f"{UNITS} maximisations of {layer}, {ASCENT} steps"
        yield Contest(what, "torch-lucent's loop", ours, partial(one_by_one, Hooked(layer), canvas), rounds=3)


def one_by_one(network: Hooked, canvas: Canvas) -> None:
    """As torch-lucent does it: a channel after the other, a picture after the other, through the whole network."""

    def gradient(channel: int, images: Tensor) -> Tensor:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(network(x)[:, channel].mean(), x)[0]

    for channel in range(UNITS):
        picture = Fourier().begin(canvas, 1, 0, next(network.model.parameters()))
        for _ in range(ASCENT):
            picture.climb(partial(gradient, channel))


# Many images ---------------------------------------------------------------------------------------------------


def loader() -> DataLoader:
    """The first images, prepared one by one as in torchvision's tutorials."""
    size = CARD.input_size
    steps = [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(CARD.mean, CARD.std)]
    return DataLoader(Pictures(TEST.subset(range(IMAGES)), transforms.Compose(steps)), batch_size=100)


def strongest_patches() -> Iterator[Contest]:
    ours = partial(patches.rank, MODEL, TEST.images[:IMAGES], list(STAGES), (STRONGEST_UNIT,), **HOW)
    theirs = partial(maxima_by_hooks, peers_copy())
    yield Contest(f"strongest patches of {len(STAGES)} stages, {IMAGES} images", "hooks", ours, theirs, rounds=3)


@torch.no_grad()
def maxima_by_hooks(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each stage's channels the nine images with the largest maxima, and those."""
    kept: dict[str, list[Tensor]] = {name: [] for name in STAGES.values()}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept[name].append(output.amax(dim=(2, 3)))
        )
        for name in kept
    ]
    for batch, _ in loader():
        model(batch)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(values).topk(9, dim=0) for name, values in kept.items()}


def evaluation() -> Iterator[Contest]:
    ours = partial(evaluate, MODEL, TEST.images[:IMAGES], TEST.labels[:IMAGES], **HOW)
    batches = data.prepare(TEST.images[:IMAGES], *HOW.values()).split(250)
    what = f"evaluation of {IMAGES} images"
    yield Contest(what, "DataLoader", ours, lambda: forward(images for images, _ in loader()), rounds=3)
    yield Contest(what, "forward passes alone", ours, lambda: forward(batches), rounds=3)


@torch.no_grad()
def forward(batches: Iterable[Tensor]) -> Tensor:
    return torch.cat([MODEL(batch) for batch in batches])


# Evidence ------------------------------------------------------------------------------------------------------


def evidences() -> Iterator[Contest]:
    x, label = image(), int(TEST.labels[0])
    model, patch = peers_copy(), 8
    hidden = partial(occlusion.occlude, MODEL, x, patch=patch, stride=patch)
    sliding = {"sliding_window_shapes": (3, patch, patch), "strides": (3, patch, patch)}
    for at_once in (1, occlusion.AT_ONCE):
        theirs = partial(Occlusion(model).attribute, x, target=label, perturbations_per_eval=at_once, **sliding)
        what = f"occlusion by {(CARD.input_size // patch) ** 2} squares"
        yield Contest(what, f"Captum, {at_once} at once", hidden, theirs)
    theirs = partial(LayerGradCam(model, model.layer4).attribute, x, target=label)
    yield Contest("Grad-CAM of conv5_x", "Captum", partial(evidence.grad_cam, MODEL, x, "conv5_x", label), theirs)


# The command ---------------------------------------------------------------------------------------------------

SECTIONS = {
    "reconstruction": reconstruction,
    "inversion": inversions,
    "maximisation": maximisation,
    "patches": strongest_patches,
    "evidence": evidences,
    "evaluation": evaluation,
}


def processor() -> str:
    """Its name, where the system tells it."""
    known = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in known.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(sections: Sequence[str]) -> None:
    """Print the table, line by line as it is measured."""
    warnings.simplefilter("ignore")
    peak = fastest_product()
    print(
        f"{processor()}, {torch.get_num_threads()} thread(s), {peak / 1e9:.0f} billion operations per second; "
        f"Python {platform.python_version()}, torch {torch.__version__}, captum {captum.__version__}\n"
    )
    print("| what | peer | peer's time | ours | peer / ours | at best | floor | floor / ours |")
    print("|---|---|---|---|---|---|---|---|")
    for section in sections or SECTIONS:
        for contest in SECTIONS[section]():
            print(row(contest, peak), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
