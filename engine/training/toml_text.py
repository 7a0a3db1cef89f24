"""A recipe as the TOML text that `recipe.parse` reads: what a page puts together can be saved and run from a shell.

Settings that have their usual value are left out, so the text says what is special about the recipe.
"""

import json
from dataclasses import MISSING, fields
from typing import Any

from engine.training.recipe import Phase, Recipe, Resolution


def to_toml(recipe: Recipe) -> str:
    """The text of `recipe`; `recipe.parse` makes an equal recipe of it."""
    settings = [f"{key} = {_value(value)}" for key, value in _special(recipe).items() if not isinstance(value, tuple)]
    tables = [_table("resolutions", entry) for entry in recipe.resolutions]
    tables += [_table("phases", entry) for entry in recipe.phases]
    return "\n\n".join(["\n".join(settings), *tables]) + "\n"


def _table(name: str, entry: Phase | Resolution) -> str:
    return "\n".join([f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in _special(entry).items())])


def _special(entry: Recipe | Phase | Resolution) -> dict[str, Any]:
    """The settings without a usual value, and those that differ from it."""
    special = {}
    for field in fields(entry):
        usual = field.default if field.default_factory is MISSING else field.default_factory()
        if (value := getattr(entry, field.name)) not in (None, usual):
            special[field.name] = value
    return special


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items() if entry is not None) + " }"
    if isinstance(value, str | bool):
        return json.dumps(value)  # a JSON string is a TOML string, and so are true and false
    return repr(value)
