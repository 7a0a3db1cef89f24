"""The tests, in the same tree as what they test. Two processes run them (pyproject.toml), each with one thread."""

import os

# Read when PyTorch is loaded, by the processes and servers that tests start too: threads of two processes would only
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
