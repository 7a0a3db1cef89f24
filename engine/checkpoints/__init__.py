"""Trained networks on disk: one folder each, with everything that a page needs.

`card` is what a checkpoint is; `reading` loads its network and its predictions; `writing` stores a new one; `states`
is the same network after some of the epochs of its training.

    weights.pt        state dict, half precision where the validation images tell no loss of accuracy; only what was
                      trained, if the rest is that of the base which the card names
    card.json         what it is, how it was trained, and what the run measured
    history.csv       one line per epoch
    filters.npz       the first layer's kernels from before training to its end
    predictions.npz   logits of the test images and of the validation images
    states/           the network after some of its epochs, as `4.pt`
    recipe.json       the whole recipe, of what was trained since it is kept
    owner             of what somebody has kept of a run, or added: who may remove it

The folders of experiments are the same without `weights.pt`.

A loaded network is in evaluation mode, frozen, and shared by everybody who looks at it: nobody changes it.
Weights are loaded with `weights_only=True`, so a file from a stranger can damage nothing but its own picture.
"""

from engine.checkpoints.card import Card, foreign_card, read_card
from engine.checkpoints.reading import (
    StoredPredictions,
    Trained,
    available,
    base,
    begin_with_,
    freeze,
    load,
    predictions,
    untrained,
)
from engine.checkpoints.writing import Contents, half_precision, kept, remove, save, write_weights
