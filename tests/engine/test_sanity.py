"""Sanity checks: what is randomised, in which order, and that the trained network stays as it was."""

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from engine import evidence, sanity, tape
from engine.deconv import reconstruct
from engine.sanity import TRAINED, cascade, check_signals, positive_noise, randomised_from_the_top, stages_from_the_top
from tests.oracles import assert_same, fingerprint, images, network, noise, randomised

TOP_DOWN = {
    "app:model_two": ["dense 2", "dense 1", "conv3", "conv2", "conv1"],
    "resnet18": ["dense", "conv5_x", "conv4_x", "conv3_x", "conv2_x", "conv1"],
}


@pytest.mark.parametrize("name", TOP_DOWN)
def test_stages_become_random_one_after_the_other_and_stay_so(name: str) -> None:
    model = network(name)
    before = fingerprint(model)
    weights = {key: value.clone() for key, value in model.state_dict().items() if value.dim() > 1}
    differing: list[int] = []
    stages: list[str] = []
    for stage, changed in randomised_from_the_top(model):
        stages.append(stage)
        state = changed.state_dict()
        differing.append(sum(not torch.equal(state[key], value) for key, value in weights.items()))
        assert changed is not model
    assert stages == TOP_DOWN[name]
    assert differing == sorted(set(differing))
    assert differing[-1] == len(weights)
    for module in changed.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean.eq(0).all()
            assert module.running_var.eq(1).all()
            assert module.weight.eq(1).all()
    assert fingerprint(model) == before


def test_weights_that_forward_reads_by_itself_become_random_without_their_module() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(1, 4, 1, 1))
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((torch.relu(self.conv(x)) * self.scale).mean(dim=(2, 3)))

    torch.manual_seed(0)
    model = randomised(Own())
    steps = randomised_from_the_top(model)
    stage, changed = next(steps)
    assert stage.startswith("dense")
    assert torch.equal(changed.conv.weight, model.conv.weight)
    stage, changed = next(steps)
    assert not torch.equal(changed.scale, model.scale)


def test_slopes_and_batch_norms_without_parameters_begin_anew_with_their_stage() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.PReLU(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4, 2)).eval()
    nn.init.constant_(model[1].running_mean, 5.0)
    nn.init.constant_(model[2].weight, 0.5)
    before = fingerprint(model)
    begun = [
        (float(changed[1].running_mean.mean()), float(changed[2].weight.detach().mean()))
        for _, changed in randomised_from_the_top(model)
    ]
    assert begun == [(5.0, 0.5), (0.0, 0.25)]
    assert fingerprint(model) == before


def test_the_cascade_compares_each_picture_with_the_trained_one() -> None:
    model, image = network("app:model_two"), images("app:model_two")

    def look(some: nn.Module) -> dict[str, Tensor]:
        return evidence.heats_of_class(some, image, 3)

    found = list(cascade(model, look, seed=4))
    assert list(found[0]) == list(evidence.RULES)
    checks = [step["guided"] for step in found]
    assert [check.stage for check in checks] == [TRAINED, *TOP_DOWN["app:model_two"]]
    assert checks[0].correlation == pytest.approx(1)
    assert stages_from_the_top(model) == tuple(TOP_DOWN["app:model_two"])
    own = look(model)["guided"]
    for check, (_, changed) in zip(checks[1:], randomised_from_the_top(model, 4), strict=True):
        assert_same(check.heat, look(changed)["guided"])
        expected = stats.spearmanr(check.heat.flatten().numpy(), own.flatten().numpy()).statistic
        assert check.correlation == pytest.approx(expected, abs=1e-12)
    other = [step["guided"] for step in cascade(model, look, seed=5)]
    assert not torch.equal(other[1].heat, checks[1].heat)


def test_noise_and_the_switches_of_another_image_take_the_place_of_ones_own() -> None:
    model = network("app:model_two")
    image, other = images("app:model_two", 2).split(1)
    found = check_signals(model, image, other, "pool2", seed=3)
    own, others = tape.record(model, image, "pool2"), tape.record(model, other, "pool2")
    assert_same(found.own.pixels, reconstruct(own, own.activation).pixels)
    assert_same(found.others_switches.pixels, reconstruct(others, own.activation).pixels)
    noise_signal = positive_noise(own.activation, 3)
    assert noise_signal.min() > 0
    assert float(noise_signal.norm()) == pytest.approx(float(own.activation.norm()))
    assert_same(found.noise.pixels, reconstruct(own, noise_signal).pixels)
    heats = [evidence.heat(picture.pixels).flatten() for picture in (found.noise, found.own, found.others_switches)]
    expected = [float(stats.spearmanr(heats[index].numpy(), heats[1].numpy()).statistic) for index in (0, 2)]
    assert [found.noise_correlation, found.others_correlation] == pytest.approx(expected, abs=1e-12)
    same = check_signals(model, image, image, "pool2")
    assert same.others_correlation == pytest.approx(1)
    assert not torch.equal(positive_noise(noise((1, 2, 3)), 0), positive_noise(noise((1, 2, 3)), 1))
    assert sanity.positive_noise(own.activation.float()).dtype == torch.float32
