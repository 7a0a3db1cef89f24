"""The one kind of error that is meant for people.

Whatever a person can cause (a damaged file, a wrong name in a link, a recipe with a typing error) is raised as a
`ConvscopeError` whose text is one sentence: what is wrong, where, and what to do. Pages and command lines print
that sentence; any other exception is a mistake in the program.
"""


class ConvscopeError(ValueError):
    """Something a person can mend; its text is a sentence they can read."""
