"""The page Learning curves: loss and accuracy, epoch by epoch."""
