"""Runs that a page starts: each in a process of its own, one after the other.

jobs.py          what pages call: start, cancel, delete, keep
dispatcher.py    starts the run whose turn it is (turns.py); worker.py: the process that trains or keeps
owners.py        whose a run is; limits.py: what students may do
rates.py         a learning-rate range test in a process of its own
"""
