"""The page Filters: kernels as pictures, over training time."""
