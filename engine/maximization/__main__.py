"""`python -m engine.maximization CHECKPOINT [LAYER ...]`: makes and stores a checkpoint's pictures."""

from collections.abc import Sequence

from engine import command
from engine.maximization import stored


@command.exit_status()
def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of a checkpoint's pictures."""
    parser = command.parser("engine.maximization", "Store pictures that excite a checkpoint's channels and classes.")
    parser.add_argument("checkpoint", help="a folder in checkpoints/, such as resnet18")
    parser.add_argument("layer", nargs="*", help="only these layers, such as conv5_x or classes")
    chosen = parser.parse_args(arguments)
    stored.build(chosen.checkpoint, chosen.layer)


if __name__ == "__main__":
    raise SystemExit(main())
