"""What a run or a checkpoint may be called: it becomes the name of a folder, and stands in links.

And what may stand in a text that others read.
"""

import re
import unicodedata

from engine.errors import ConvscopeError, quoted

RULE = "use up to 60 letters (a to z), digits, _ and -, with a letter or digit first"
_ENDINGS = re.compile(r"(\.(pt|pth|pkl|tar|ckpt|bin|safetensors))+$", re.IGNORECASE)
_JOINER = "\u200d"
"""Joins the emoji of a woman and a school to that of a teacher; it has no width, and Python calls it not printable."""
_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


def is_name(text: object) -> bool:
    """Whether `text` follows the rule."""
    return isinstance(text, str) and _PATTERN.fullmatch(text) is not None


def is_printable(text: str) -> bool:
    """Whether `text` has only letters that can be seen, and spaces; and what joins emoji."""
    return text.replace(_JOINER, "").isprintable()


def checked_name(text: str) -> str:
    """`text`, if it follows the rule.

    Raises:
        ConvscopeError: it does not.
    """
    if not is_name(text):
        raise ConvscopeError(f"{quoted(text)} cannot be a name: {RULE}.")
    return text


def name_of(file: str) -> str:
    """A name after the rule for what is in `file`: "best model (1).pth" gives "best_model_1"."""
    letters = unicodedata.normalize("NFKD", _ENDINGS.sub("", file)).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", letters).strip("_-")[:60] or "own"
