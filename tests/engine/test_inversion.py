"""Feature inversion: the loss against slow twins, the minimum against a linear solver, and what must never happen."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import checkpoints, data, inversion, tape
from engine.errors import ConvscopeError
from engine.inversion import PRIORS, InversionStep, Prior, invert, invert_layers
from tests.oracles import SIZES, Lambda, fingerprint, images, network, noise, randomised, relative_error

B, V = inversion.LARGEST_VALUE, inversion.USUAL_GRADIENT


def small_network() -> nn.Module:
    """Two convolutions with a batch norm, a ReLU and a pool between them; its layers are `first` and `second`."""
    torch.manual_seed(3)
    parts = {
        "first": nn.Conv2d(3, 6, 3, padding=1),
        "bn": nn.BatchNorm2d(6),
        "pool": nn.MaxPool2d(2),
        "second": nn.Conv2d(6, 5, 3),
    }
    return randomised(Lambda(lambda net, x: net.second(net.pool(torch.relu(net.bn(net.first(x))))), **parts))


def picture(size: int = 8, seed: int = 5) -> Tensor:
    return noise((1, 3, size, size), seed)


def run(model: nn.Module, layer: str, image: Tensor, **settings) -> list[InversionStep]:
    return [step for _, step in invert_layers(model, image, [layer], **settings)]


# The loss --------------------------------------------------------------------------------------------------------


def slow_total_variation(x: Tensor, beta: float) -> float:
    _, channels, height, width = x.shape
    total = 0.0
    for c, i, j in itertools.product(range(channels), range(height), range(width)):
        down = (x[0, c, i + 1, j] - x[0, c, i, j]) * height if i + 1 < height else 0
        right = (x[0, c, i, j + 1] - x[0, c, i, j]) * width if j + 1 < width else 0
        total += float(math.sqrt(down**2 + right**2) / V) ** beta
    return total / x.numel()


@pytest.mark.parametrize("beta", [1.5, 2.0, 3.0])
def test_total_variation_is_that_of_its_slow_twin(beta):
    x = noise((1, 3, 5, 7))
    assert float(inversion.total_variation(x, beta)) == pytest.approx(slow_total_variation(x, beta), rel=1e-9)


@pytest.mark.parametrize("alpha", [2.0, 3.0, 6.0])
def test_the_alpha_norm_is_that_of_its_slow_twin(alpha):
    x = noise((1, 3, 4, 5))
    slow = sum(abs(float(value) / B) ** alpha for value in x.flatten()) / x.numel()
    assert float(inversion.alpha_norm(x, alpha)) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("beta", [1.5, 2.0, 3.0])
def test_the_gradients_of_the_prior_are_those_of_finite_differences(beta):
    x = noise((1, 3, 4, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: inversion.total_variation(x, beta), x)
    assert torch.autograd.gradcheck(lambda x: inversion.alpha_norm(x, 3 * beta), x)


def test_a_flat_picture_has_no_variation_and_a_finite_slope():
    x = torch.ones(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(inversion.total_variation(x, 1.0), x)
    assert torch.equal(slope, torch.zeros_like(x))


def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences():
    model, prior = small_network(), Prior(0.3, 0.7)
    target = tape.features(model, picture(seed=9), "second")
    problem = inversion.problem_of(model, "second", target, None, prior)
    x, direction, step = picture(), noise((1, 3, 8, 8), 2), 1e-6
    slope = (problem.at(x + step * direction).loss - problem.at(x - step * direction).loss) / (2 * step)
    assert float((problem.at(x).gradient * direction).sum()) == pytest.approx(slope, rel=1e-6)


def test_the_terms_and_the_error_are_what_they_are_called():
    model, image = small_network(), picture()
    target = tape.features(model, image, "second")
    for step in itertools.islice(invert(model, "second", target, size=8, prior=Prior(0.3, 0.7)), 4):
        found = tape.features(model, step.image, "second")
        assert step.error == pytest.approx(relative_error(found, target) ** 2)
        assert step.terms["feature"] == step.error
        assert step.terms["alpha norm"] == pytest.approx(0.3 * float(inversion.alpha_norm(step.image, 6)))
        assert step.terms["total variation"] == pytest.approx(0.7 * slow_total_variation(step.image, 2), rel=1e-9)
        assert step.loss == pytest.approx(sum(step.terms.values()))


def test_with_jitter_the_error_is_that_of_the_unshifted_picture():
    model, image = small_network(), picture()
    target = tape.features(model, image, "second")
    steps = run(model, "second", image, prior=replace(PRIORS["mahendran_vedaldi"], jitter=2), steps=12)
    for step in steps:
        found = tape.features(model, step.image, "second")
        assert step.error == pytest.approx(relative_error(found, target) ** 2)
    assert any(step.terms["feature"] != pytest.approx(step.error) for step in steps)


def test_the_usual_sizes_are_those_of_the_bundled_training_images(bundled_train):
    card = checkpoints.available()["resnet18"]
    x = data.prepare(bundled_train.images[::10], 64, card.mean, card.std)
    assert math.sqrt(float(inversion.total_variation(x, 2))) == pytest.approx(1, abs=0.05)
    assert float(x.abs().quantile(0.98) if x.numel() < 2**24 else x.abs().max()) == pytest.approx(B, abs=0.2)


# The minimum -----------------------------------------------------------------------------------------------------


def matrix(linear, size: int) -> Tensor:
    """The matrix of a linear function of a picture `[1, 3, size, size]`."""
    basis = torch.eye(3 * size * size, dtype=torch.float64).view(-1, 1, 3, size, size)
    return torch.stack([linear(one).flatten() for one in basis], dim=1)


def differences(x: Tensor) -> Tensor:
    """All forward differences of a picture, written out."""
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    right[..., :-1] = x[..., 1:] - x[..., :-1]
    return torch.cat([down, right])


def test_with_a_linear_layer_and_a_quadratic_prior_the_minimum_is_that_of_a_linear_solver():
    size, a, b = 6, 0.4, 0.9
    torch.manual_seed(1)
    model = randomised(Lambda(lambda net, x: net.conv(x), conv=nn.Conv2d(3, 4, 3)))
    image = picture(size)
    target = tape.features(model, image, "conv")
    steps = run(model, "conv", image, prior=Prior(a, b, alpha=2, beta=2), steps=400)
    layer = matrix(lambda x: nn.functional.conv2d(x, model.conv.weight), size)
    change, count, energy = matrix(differences, size), 3 * size * size, float(target.square().sum())
    wanted = (target - model.conv.bias.view(1, -1, 1, 1)).flatten()
    prior = a / (count * B**2) * torch.eye(count, dtype=torch.float64)
    prior += b * size**2 / (count * V**2) * change.T @ change
    solved = torch.linalg.solve(layer.T @ layer / energy + prior, layer.T @ wanted / energy)
    assert relative_error(steps[-1].image.flatten(), solved) < 1e-5
    assert len(steps) < 400  # it noticed that nothing was left to gain


def test_without_a_prior_an_invertible_layer_gives_the_picture_back():
    torch.manual_seed(2)
    model = randomised(Lambda(lambda net, x: net.conv(x), conv=nn.Conv2d(3, 3, 1)))
    image = picture(4)
    steps = run(model, "conv", image, prior=PRIORS["none"], steps=300)
    assert steps[-1].error < 1e-12
    assert relative_error(steps[-1].image, image) < 1e-4


def test_only_the_chosen_channel_is_matched():
    model, image = small_network(), picture()
    target = tape.features(model, image, "second")
    last = run(model, "second", image, prior=PRIORS["none"], channel=2, steps=60)[-1]
    found = tape.features(model, last.image, "second")
    assert relative_error(found[:, 2], target[:, 2]) ** 2 == pytest.approx(last.error)
    assert last.error < 1e-3
    assert relative_error(found[:, 0], target[:, 0]) ** 2 > 0.1


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_descent_goes_down(prior):
    steps = run(small_network(), "second", picture(), prior=prior, steps=60)
    # Shifting a picture of 8 px by 2 px leaves little that can be matched.
    assert steps[-1].error < (0.7 if prior.jitter else 0.1) * steps[0].error
    if not prior.jitter:
        assert all(after.loss < before.loss for before, after in itertools.pairwise(steps))


def test_on_the_shipped_network_the_prior_brings_the_picture_back(bundled_test):
    trained = checkpoints.load("resnet18")
    card = trained.card
    image = data.prepare(bundled_test.images[:1], card.input_size, card.mean, card.std)
    shown = {}
    for name in ("none", "mahendran_vedaldi"):
        last = run(trained.model, "conv2_x", image, prior=PRIORS[name], steps=80)[-1]
        assert last.error < 0.05
        pictures = [data.denormalised(x, card.mean, card.std) for x in (last.image, image)]
        shown[name] = inversion.psnr(*pictures)
    assert shown["mahendran_vedaldi"] > max(22, shown["none"] + 3)


# Any network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_it_works_on_every_network_and_leaves_it_as_it_was(name):
    model = network(name)
    before, layers = fingerprint(model), list(tape.layers(model))
    for layer in {layers[0], layers[len(layers) // 2]}:
        steps = run(model, layer, images(name), steps=2)
        assert steps[-1].loss < steps[0].loss
        assert steps[-1].image.shape == images(name).shape
    assert fingerprint(model) == before


def test_a_layer_without_maps_can_be_inverted():
    model = network("app:lenet")
    steps = run(model, tape.logits(model), images("app:lenet"), prior=PRIORS["none"], steps=15)
    assert steps[-1].error < 0.05


def test_layers_are_inverted_one_after_the_other():
    model, image = small_network(), picture()
    pairs = list(invert_layers(model, image, ["first", "second"], steps=3))
    assert [(layer, step.number) for layer, step in pairs] == list(itertools.product(["first", "second"], range(4)))
    alone = run(model, "second", image, steps=3)
    assert torch.equal(pairs[-1][1].image, alone[-1].image)


# Stopping, seeds, threads ----------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Counts the forward passes; from number `limit` on each of them fails."""
    calls = {"made": 0, "limit": math.inf}

    def counting(*args):
        calls["made"] += 1
        if calls["made"] > calls["limit"]:
            raise RuntimeError("broken on purpose")
        return tape.features(*args)

    monkeypatch.setattr(inversion, "features", counting)
    return calls


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_it_computes_no_step_that_is_not_asked_for(counted, prior):
    steps = invert(small_network(), "second", noise((1, 5, 2, 2)), size=8, prior=prior)
    assert [step.number for step in itertools.islice(steps, 5)] == [0, 1, 2, 3, 4]
    made = counted["made"]
    steps.close()
    assert made < 5 * 4
    assert counted["made"] == made


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_a_failure_in_the_middle_leaves_the_model_and_the_gradient_mode_as_they_were(counted, prior):
    model = small_network()
    before, counted["limit"] = fingerprint(model), 6
    with pytest.raises(RuntimeError, match="on purpose"):
        list(invert(model, "second", noise((1, 5, 2, 2)), size=8, prior=prior))
    assert fingerprint(model) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_seed_decides_everything(prior):
    model, image = small_network(), picture()
    first, again, other = (run(model, "second", image, prior=prior, steps=8, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one.image, two.image) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].image, other[0].image)


def test_it_works_where_gradients_are_switched_off_and_leaves_them_off():
    with torch.no_grad():
        steps = run(small_network(), "second", picture(), steps=5)
        assert not torch.is_grad_enabled()
    assert steps[-1].loss < steps[0].loss


def test_threads_share_one_model():
    model, seeds = small_network(), range(8)
    alone = [run(model, "second", picture(), steps=6, seed=seed)[-1].image for seed in seeds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: run(model, "second", picture(), steps=6, seed=seed)[-1].image, seeds))
    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))


# What is not finite ----------------------------------------------------------------------------------------------


def explosive(limit: float) -> nn.Module:
    """A layer that is no number as soon as one of its values exceeds `limit`."""
    torch.manual_seed(4)

    def forward(net, x):
        x = net.conv(x)
        return torch.where(x > limit, torch.full_like(x, math.nan), x.exp())

    return randomised(Lambda(forward, conv=nn.Conv2d(3, 4, 3)))


@pytest.mark.parametrize("prior", [PRIORS["none"], Prior(jitter=1)], ids=["lbfgs", "adam"])
def test_what_is_shown_is_finite_even_where_the_network_is_not(prior):
    model = explosive(1.0)
    target = torch.full((1, 4, 4, 4), 50.0, dtype=torch.float64)  # out of reach: the way there leads into the void
    steps = list(invert(model, "where", target, size=6, prior=prior, steps=60))
    assert all(step.image.isfinite().all() and math.isfinite(step.loss) for step in steps)
    assert all(math.isfinite(step.error) for step in steps)
    assert steps[-1].error < steps[0].error


def test_a_network_that_overflows_on_noise_is_named():
    with pytest.raises(ConvscopeError, match="overflows on noise"):
        invert(explosive(-1e9), "where", torch.ones(1, 4, 4, 4, dtype=torch.float64), size=6)


GOOD = noise((1, 5, 2, 2))
BAD_CALLS = {
    "inactive": ({"target": torch.zeros_like(GOOD)}, "inactive"),
    "inactive channel": ({"target": GOOD * torch.tensor([1, 0, 1, 1, 1]).view(1, 5, 1, 1), "channel": 1}, "inactive"),
    "not finite": ({"target": GOOD * math.inf}, "not finite"),
    "channel": ({"channel": 5}, "no channel 5"),
    "negative channel": ({"channel": -1}, "no channel -1"),
    "two images": ({"target": torch.cat([GOOD, GOOD])}, "one image"),
    "other size": ({"size": 10}, "does not fit"),
    "no size": ({"size": 0}, "positive numbers"),
    "steps": ({"steps": -1}, "positive numbers"),
    "layer": ({"layer": "third"}, "third"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_wrong_call_gets_one_sentence_at_once(name):
    wrong, message = BAD_CALLS[name]
    settings = {"layer": "second", "target": GOOD, "size": 8} | wrong
    with pytest.raises(ConvscopeError, match=message):
        invert(small_network(), **settings)


@pytest.mark.parametrize("wrong", [{"alpha": 0.5}, {"beta": 0}, {"alpha_weight": -1}, {"variation_weight": math.nan}])
def test_a_prior_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConvscopeError, match="A prior needs"):
        Prior(**wrong)


# Pictures --------------------------------------------------------------------------------------------------------


def test_psnr_is_that_of_its_definition():
    first, second = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    slow = 10 * math.log10(1 / np.mean((first.numpy() - second.numpy()) ** 2))
    assert inversion.psnr(first, second) == pytest.approx(slow, rel=1e-5)
    assert inversion.psnr(first, first) == math.inf
