"""Every page once: the app's navigation, Home and all links between pages read this list."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A page.

    Attributes:
        address: its path in the link, and the name of its package.
        title: its name in the navigation.
        question: what it answers, in one line.
        group: what it is for; the navigation marks the groups.
        sidebar: which of the sidebar's controls it uses.
        plays_back: whether it leads from a layer back to the pixels: some networks begin with an earlier layer there.
    """

    address: str
    title: str
    question: str
    group: str = ""
    sidebar: tuple[str, ...] = ()
    plays_back: bool = False

    @property
    def file(self) -> str:
        """Its script, relative to `main.py`."""
        return f"{self.address}/page.py"


LEARN, MEASURE, LOOK_INSIDE = GROUPS = ("Learn", "Measure", "Look inside")
SIDEBAR = NETWORK, LAYER, BATCH_NORM, IMAGE = ("network", "layer", "batch norm", "image")
HOME = Entry("home", "Home", "What is there to see?")
PAGES = (
    Entry("train", "Train", "A network learns in front of the class.", LEARN),
    Entry("learning_curves", "Learning curves", "Which optimizer, depth or dropout is better?", LEARN),
    Entry("accuracy", "Accuracy", "Which classes does it know, which does it confuse?", MEASURE, (NETWORK, IMAGE)),
    Entry("network", "Network", "What is it made of, step by step?", LOOK_INSIDE, (NETWORK, LAYER, IMAGE)),
    Entry("filters", "Filters", "Which edges and colours does it look for first?", LOOK_INSIDE, (NETWORK,)),
    Entry("feature_maps", "Feature maps", "What does each layer make of an image?", LOOK_INSIDE, SIDEBAR),
    Entry(
        "reconstruction",
        "Reconstruction",
        "Which parts of the image led to a layer's activations?",
        LOOK_INSIDE,
        SIDEBAR,
        plays_back=True,
    ),
    Entry("evidence", "Evidence", "What in the image is the answer based on?", LOOK_INSIDE, (NETWORK, LAYER, IMAGE)),
    Entry(
        "inversion",
        "Inversion",
        "How much of an image does a layer remember?",
        LOOK_INSIDE,
        SIDEBAR,
        plays_back=True,
    ),
    Entry("maximization", "Maximisation", "Which image excites a channel most?", LOOK_INSIDE, (NETWORK, LAYER)),
)


def page(address: str) -> Entry:
    """The page with this address."""
    return next(entry for entry in (HOME, *PAGES) if entry.address == address)
