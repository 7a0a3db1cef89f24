"""The code behind the page's optimised pictures."""

from engine.maximization.stored import MaximizationSettings
from engine.weights import TRAINED
from pages.common import code
from pages.maximization.drawings import WIDTH, gap


def of(settings: MaximizationSettings) -> str:
    """The pictures after their last step."""
    network = settings.network
    moment = "" if network.moment == TRAINED else f", {network.moment!r}"
    named = [
        f"{name}={getattr(settings, name)!r}"
        for name in ("layer", "first", "count", "objective", "preset", "steps", "seed", "size")
    ]
    return code.script(
        f"network = weights.find({network.checkpoint!r}{moment})",
        "trained = weights.load(network)",
        "wanted = stored.MaximizationSettings(",
        "    network,",
        *(f"    {said}," for said in named),
        ")",
        "for step in stored.pictures(trained, wanted):",
        '    print(f"step {step.steps[-1]}: activation {step.activations[-1].mean():.3g}")',
        f"picture = pictures.sheet(step.pictures, width={WIDTH}, gap={gap(settings.count)})",
        code.save("maximization.png"),
    )
