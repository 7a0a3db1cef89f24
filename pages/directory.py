"""Every page once: the app's navigation, Home and all links between pages read this list."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A page.

    Attributes:
        address: its path in the link, and the name of its package.
        title: its name in the navigation.
        question: what it answers, in one line.
    """

    address: str
    title: str
    question: str

    @property
    def file(self) -> str:
        """Its script, relative to `main.py`."""
        return f"{self.address}/page.py"


HOME = Entry("home", "Home", "What is there to see?")
PAGES = (
    Entry("train", "Train", "A network learns in front of the class."),
    Entry("learning_curves", "Learning curves", "Which optimizer, depth or dropout is better?"),
    Entry("accuracy", "Accuracy", "Which classes does it know, which confuse?"),
    Entry("network", "Network", "What is it made of, step by step?"),
    Entry("filters", "Filters", "Which edges and colours does it look for first?"),
    Entry("feature_maps", "Feature maps", "What does each layer make of an image?"),
    Entry("reconstruction", "Reconstruction", "A layer's answer, sent back to the pixels."),
    Entry("inversion", "Inversion", "How much of an image does a layer remember?"),
    Entry("maximization", "Maximisation", "Which image would a filter like best?"),
)
