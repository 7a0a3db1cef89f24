"""Training: a recipe goes in, a run folder and finally a checkpoint come out.

    recipe.py    what is to be done: read from a TOML file, checked, frozen
    batches.py   order and augmentation of the images, both functions of (seed, epoch) alone
    schedule.py  the learning rate at each step
    run.py       the folder in which a run keeps its state
    loop.py      the training itself, a list of small steps
    finish.py    the best weights become a checkpoint, with figures measured on what was stored

`python -m engine.training RECIPE` runs it; see `__main__.py`.
"""
