"""Convscope's engine: everything about networks, nothing about pages. Usable from a notebook or a shell."""
