"""The page Home: every page and every network, and links to begin a lecture with."""
