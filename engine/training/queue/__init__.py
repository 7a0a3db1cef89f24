"""Runs that a page starts: each in a process of its own, one after the other."""
