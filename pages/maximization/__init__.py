"""The page Maximisation: images that excite a channel or a class."""
