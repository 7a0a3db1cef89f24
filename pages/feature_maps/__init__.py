"""The page Feature maps: what each channel of a layer shows of an image."""
