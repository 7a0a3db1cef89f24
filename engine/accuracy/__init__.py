"""Accuracy: from the predictions of a network to every figure.

    predictions    the logits of many images and their true classes
    figures        accuracy, recall, precision, F1, confusion matrix and cross-entropy, with 95 % intervals
    confusion      which classes are mistaken for each other
    calibration    reliability, temperature scaling, coverage, top-k accuracy
    comparison     two networks on the same images: McNemar's test
    images         the images behind a figure
    live           whether a network that is run again predicts what is stored

All are pure functions of `Predictions`; `engine.evaluation` makes those, `engine.checkpoints` stores them.
"""
