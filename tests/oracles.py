"""What the tests of the tape and of its playback compare with: slow, plain, and independent of the engine.

- networks with random weights and, more to the point, random batch norm statistics (0 and 1 hide mistakes);
- `SlowTwin`: the same network run node by node with autograd, whose ReLUs carry the backward rule in a custom
  autograd function, whose batch norms and branches are left out of the backward pass by `detach`;
- `cut_model`: the network up to a node as a module, with a fresh `nn.ReLU` at every call, for Captum;
- `fingerprint`: everything about a model that looking at it must not change.
"""

import copy
import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from engine.models import ARCHITECTURES, build

TORCHVISION = {
    "alexnet": 64,
    "vgg16": 32,
    "resnet18": 48,
    "resnet50": 48,
    "googlenet": 48,
    "squeezenet1_1": 48,
    "mobilenet_v2": 48,
    "densenet121": 48,
    "inception_v3": 75,
    "efficientnet_b0": 48,
    "shufflenet_v2_x1_0": 48,
    "convnext_tiny": 32,
    "regnet_y_400mf": 48,
    "mobilenet_v3_small": 48,
}
SIZES = TORCHVISION | {f"app:{name}": min(spec.input_size, 128) for name, spec in ARCHITECTURES.items()}


@cache
def network(name: str) -> nn.Module:
    """A random network in double precision and eval mode; names with "app:" are the app's own.

    All of them take a gigabyte; to make and trace them again for each file of tests takes a minute.
    """
    torch.manual_seed(sum(name.encode()))
    if name.startswith("app:"):
        return randomised(build(name.removeprefix("app:")))
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    wide = {"alexnet": 256 * 6 * 6, "vgg16": 512 * 7 * 7}.get(name)
    with torch.device("meta" if wide else "cpu"):
        model = getattr(torchvision.models, name)(weights=None, num_classes=10, **options)
    if wide:  # their dense layers would fill up to a gigabyte
        model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(wide, 64), nn.ReLU(True), nn.Linear(64, 10))
        model.features.to_empty(device="cpu")
        for convolution in (module for module in model.features if isinstance(module, nn.Conv2d)):
            convolution.reset_parameters()
    return randomised(model)


def randomised(model: nn.Module) -> nn.Module:
    """`model` with random batch norm statistics, in double precision, eval mode and frozen."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight, 1, 0.3)
            module.weight.data[::5] *= -1
            nn.init.normal_(module.bias, 0, 0.3)
    return model.double().eval().requires_grad_(False)


def images(name: str, count: int = 1, seed: int = 0) -> Tensor:
    """Noise images `[count, 3, size, size]` of the network's test size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, SIZES[name], SIZES[name], generator=generator, dtype=torch.float64)


def noise(shape: Any, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    """They differ by rounding in double precision only, relative to the whole."""
    assert relative_error(ours, theirs) < 1e-12


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


# ------------------------------------------------------------------------------------------------- slow twin


class Rectify(torch.autograd.Function):
    """ReLU (or ReLU6) with one of the three backward rules."""

    @staticmethod
    def forward(context: Any, x: Tensor, rule: str, ceiling: float) -> Tensor:
        context.save_for_backward((x > 0) & (x < ceiling))
        context.rule = rule
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = context.saved_tensors
        if context.rule == "gradient":
            return gradient * mask, None, None
        positive = torch.where(gradient > 0, gradient, torch.zeros_like(gradient))
        return (positive if context.rule == "deconvnet" else positive * mask), None, None


class SlowTwin(fx.Interpreter):
    """The network node by node under autograd, with other backward rules.

    `detached` maps an addition's node name to the index of the term that gets no gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        relu: str | None = None,
        batch_norm: bool = True,
        detached: dict[str, int] | None = None,
    ) -> None:
        tracer = NodePathTracer()
        graph = tracer.trace(model)
        super().__init__(fx.GraphModule(model, graph))
        # The graph module holds a copy of the graph: same nodes in the same order.
        names = map(tracer.node_to_qualname.get, graph.nodes)
        self.names = dict(zip(self.module.graph.nodes, names, strict=True))
        self.relu, self.batch_norm, self.detached = relu, batch_norm, detached or {}

    def run_to(self, x: Tensor, name: str) -> Tensor:
        """The value of the node called `name`."""
        self.env, self.args_iter = {}, iter([x.clone()])
        for node in self.module.graph.nodes:
            self.env[node] = self._run_with_rules(node)
            if self.names[node] == name:
                return self.env[node]
        raise KeyError(name)

    def play_back(self, x: Tensor, name: str, signal: Tensor) -> Tensor:
        """What autograd makes of `signal` at the node called `name`."""
        x = x.clone().requires_grad_(True)
        return torch.autograd.grad(self.run_to(x, name), x, signal)[0]

    def _run_with_rules(self, node: fx.Node) -> Any:
        ceiling = relu_ceiling(node, self.module)
        if ceiling is not None and self.relu is not None:
            return Rectify.apply(self.env[node.args[0]], self.relu, ceiling)
        if not self.batch_norm and is_batch_norm(node, self.module):
            x = self.env[node.args[0]]
            return x + (self.run_node(node) - x).detach()
        if self.names[node] in self.detached:
            terms = [self.env[term] for term in node.args]
            terms[self.detached[self.names[node]]] = terms[self.detached[self.names[node]]].detach()
            return terms[0] + terms[1]
        return self.run_node(node)


def relu_ceiling(node: fx.Node, root: nn.Module) -> float | None:
    """Where the node's ReLU saturates; None if it is no ReLU."""
    if node.op == "call_module":
        module = root.get_submodule(node.target)
        return 6.0 if isinstance(module, nn.ReLU6) else float("inf") if isinstance(module, nn.ReLU) else None
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    ceilings = {"relu": float("inf"), "relu_": float("inf"), "relu6": 6.0}
    return ceilings.get(name) if node.op in ("call_function", "call_method") else None


def is_batch_norm(node: fx.Node, root: nn.Module) -> bool:
    is_module = node.op == "call_module"
    return is_module and isinstance(root.get_submodule(node.target), nn.modules.batchnorm._BatchNorm)


def cut_model(model: nn.Module, name: str) -> nn.Module:
    """The network up to the node called `name`, with a ReLU module of its own at every call."""
    tracer = NodePathTracer()
    graph = tracer.trace(model)
    last = next(node for node, known in tracer.node_to_qualname.items() if known == name)
    cut = fx.GraphModule(copy.deepcopy(model), graph)
    for index, node in enumerate(list(cut.graph.nodes)):
        if node.name == last.name:
            last = node
        if relu_ceiling(node, cut) is not None:
            cut.add_submodule(f"oracle_relu_{index}", nn.ReLU())
            node.op, node.target = "call_module", f"oracle_relu_{index}"
            node.args, node.kwargs = node.args[:1], {}
    next(node for node in cut.graph.nodes if node.op == "output").args = (last,)
    cut.graph.eliminate_dead_code()
    cut.recompile()
    return cut


def rescaled_copy(model: nn.Module, factor: float) -> nn.Module:
    """The same ResNet with all convolutions times `factor` and the statistics behind them adjusted."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= factor
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean *= factor
            module.running_var.copy_(factor**2 * (module.running_var + module.eps) - module.eps)
    return twin


# -------------------------------------------------------------------------------------------- small networks


class Lambda(nn.Module):
    """A network written as one function of itself and its input, over named submodules."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class InPlaceShortcut(nn.Module):
    """The trap of pre-activation blocks: an in-place ReLU changes what the shortcut carries."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu, self.conv = nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding=1)
        self.act = nn.Hardswish(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x))
        y = self.conv(self.relu(x))
        y = self.act(x + y)
        return F.relu(y, inplace=True) + y


class Chunked(nn.Module):
    """Lists of tensors: chunk, split and unbind, read by index and as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        left, right = x.chunk(2, dim=1)
        parts = torch.split(x, [2, 3, 3], dim=1)
        x = torch.cat([F.relu(left) * right, torch.cat(parts[1:], 1)[:, :2], parts[0].sigmoid()], dim=1)
        pairs = x.unflatten(1, (4, 2)).unbind(2)
        return self.mix(torch.cat(x.chunk(2, dim=1)[::-1], dim=1)) + torch.cat(pairs, 1)[:, :6, 1:-1, 1:-1]


# ----------------------------------------------------------------------------------------------- fingerprint

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(model: nn.Module) -> str:
    """A hash of all weights, buffers, flags, hooks and attributes of the model."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        hooks = [len(getattr(module, hook)) for hook in _HOOKS]
        inplace = getattr(module, "inplace", None)
        flags = (module.training, inplace, hooks, sorted(vars(module)))
        digest.update(repr((name, type(module), flags)).encode())
    for name, parameter in model.named_parameters():
        digest.update(repr((name, parameter.requires_grad, parameter.grad is None)).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
