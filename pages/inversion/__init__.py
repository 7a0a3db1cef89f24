"""The page Inversion: an image whose features match a target's."""
