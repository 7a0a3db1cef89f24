"""The code behind the page: what its form would train, and the curves of a run."""

import pprint

from engine.training import recipe as recipes
from engine.training.recipe import Recipe
from engine.training.run import RunFolder
from pages.common import code


def of_recipe(wanted: Recipe) -> str:
    """The network as its training begins, and the command that trains it."""
    values = pprint.pformat(recipes.to_dict(wanted), width=100, sort_dicts=False).splitlines()
    return code.script(
        f"values = {values[0]}",
        *(f"         {line}" for line in values[1:]),
        "wanted = recipe.from_dict(values)",
        f"Path({f'{wanted.name}.toml'!r}).write_text(toml_text.to_toml(wanted))",
        "network = start.fresh_network(wanted, num_classes=10)",
        "print(sum(weights.numel() for weights in network.parameters()), 'parameters')",
        f"# To train it: {f'python -m engine.training {wanted.name}.toml'!r}",
    )


def of_run(folder: RunFolder) -> str:
    """The curves of a run."""
    return code.script(
        f"folder = run.find({folder.name!r})",
        "for record in live_files.read_history(folder):",
        "    print(record.epoch, record.train_loss, record.val_loss, record.train_accuracy, record.val_accuracy)",
    )
