"""The networks of the five reports, and the registry that everything else looks them up in.

A new architecture is one module that builds it and one entry in `ARCHITECTURES`.
"""

from engine.models.registry import ARCHITECTURES, Architecture, architecture, blank, build, for_shapes, parameter_count

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "blank", "build", "for_shapes", "parameter_count"]
