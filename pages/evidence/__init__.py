"""The page Evidence: what in the image the answer is based on."""
