"""The page Network: its layers, their shapes and parameters, and the arithmetic of a convolution."""
