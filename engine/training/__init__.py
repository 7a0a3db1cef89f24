"""Training: a recipe goes in, a run folder and finally a checkpoint come out.

    recipe.py        what is to be done: read from a TOML file, checked, frozen
    plan.py          which epoch belongs to which phase, once a person has ended a phase early
    batches.py       order and augmentation of the images, both functions of (seed, epoch) alone
    schedule.py      the learning rate at each step
    step.py          the loss of one batch, and the step against its gradient
    datasets.py      the images of a recipe
    device.py        where a training computes, and what takes long there
    team.py          several processes that train one network together
    range_test.py    which learning rates a network learns with
    start.py         the network at its start, its optimizer, and the average of its weights
    frozen_features.py   what frozen layers answer, computed once and kept
    loop.py          the training itself, a list of small steps
    run.py           the folder in which a run keeps its state; lock.py: who trains there; turns.py: who waits
    records.py       the records of epochs, steps and events, and their text in files
    control.py       the commands of a person while a run goes on
    telemetry.py     writes what a run reports meanwhile; live_files.py: the files that it goes to; tensorboard.py
    finish.py        the best weights become a checkpoint, with figures measured on what was stored
    continuation.py  a finished checkpoint is trained for some more epochs
    histories.py     the histories on disk; curves.py: figures from them; verdicts.py: converged, overfitting, ...
    comparisons.py   which histories belong on one chart
    images_per_class.py  how many images it takes, from scratch, with a linear classifier and by transfer
    estimate.py      how long a training will take, and how much memory; memory.py: what is free of it
    queue/           runs that a page starts, one after the other, in processes of their own; whose they are

`python -m engine.training RECIPE` runs it; see `__main__.py`.
"""
