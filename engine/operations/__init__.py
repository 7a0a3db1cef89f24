"""The operations that networks are made of: one file for each, which holds all that the engine knows of it.

    convolution  dense  max_pool  average_pool  relu  batch_norm  identity (dropout)  addition
    flattening  rearrangement (concatenation ...)  resampling  elementwise  attention  source (image, constants)
    other        anything else, by its vector-Jacobian product
    windows, signals    the window that a unit reads; the windows that a signal reaches on its way back
    frozen_weights, prepacking    what is made of them once; convolutions that read them in oneDNN's order

Each file says how its operation is recognised in a traced network, what is recorded of it in a forward pass, how it is
reversed, what window of its input a unit reads, what it costs, how its parameters are counted and what it is called
(`base.Operation`). `engine.graph` asks for the operation of a node, `engine.graph.receptive_field` for windows,
`engine.network` for costs and titles, `engine.tape` for records, and `engine.deconv` reverses those.

To add an operation, put a file with a subclass of `Operation` into this folder: it is collected from there. Two
operations must not recognise the same call.
"""

import importlib
import pkgutil

from engine.operations.addition import Addition as Addition
from engine.operations.average_pool import AveragePool as AveragePool
from engine.operations.base import Call, Operation
from engine.operations.base import Record as Record
from engine.operations.base import Rules as Rules
from engine.operations.batch_norm import BatchNorm as BatchNorm
from engine.operations.convolution import Convolution as Convolution
from engine.operations.dense import Dense as Dense
from engine.operations.flattening import Flattening as Flattening
from engine.operations.identity import Identity as Identity
from engine.operations.max_pool import MaxPool as MaxPool
from engine.operations.other import Other as Other
from engine.operations.relu import ReLU as ReLU
from engine.operations.source import Constant as Constant
from engine.operations.source import Image as Image


def collected() -> list[Operation]:
    """One instance of each operation that has a file in this folder."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return [kind() for kind in Operation.__subclasses__()]


OPERATIONS = collected()
_OTHER = next(operation for operation in OPERATIONS if isinstance(operation, Other))


def operation_of(call: Call) -> Operation:
    """The operation that recognises the call; `Other` if none does."""
    return next((operation for operation in OPERATIONS if operation.recognises(call)), _OTHER)
