"""Work on a trained network that is shared by all sessions."""

from engine.checkpoints import Trained
from engine.weights import Weights
from pages.common import resources
from pages.common.jobs import Job


class NetworkJob(Job):
    """Work on a network that makes room for others in the cache once the work is done, though the job is kept."""

    def __init__(self, network: Weights) -> None:
        super().__init__()
        self._network = network

    @property
    def trained(self) -> Trained:
        """The network, loaded again if it has made room.

        Raises:
            ConvscopeError: it has made room, and other weights have taken its place on disk.
        """
        return resources.trained(self._network)
