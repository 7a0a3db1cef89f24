"""The page Reconstruction: a signal played back to the pixels by a deconvnet."""
