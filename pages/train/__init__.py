"""The page Train: a recipe is filled in, and its run is followed."""
