"""Convscope's engine: everything about networks, nothing about pages. Usable from a notebook or a shell.

Read it from the ground up; each floor imports only what stands below it (`pyproject.toml` keeps that).

    errors, settings, seeding, files, names    sentences for readers, folders and use, random numbers, safe writes
    optimizers         PyTorch's optimizers, without its compiler
    models/            the networks and their registry
    data/              images: data sets, folders, archives, uploads
    operations/        what networks are made of: one file per operation, which holds all that is known of it
    graph/             a network as a graph of operations; receptive fields
    tape               a forward pass to one layer that keeps what playing it backwards needs
    tiles              feature maps as pictures: colours, frames, shades
    deconv             plays a tape backwards to the pixels; reconstructions: compares such pictures, in words
    feature_maps, filters/, network/, inversion    other ways to look: activations, kernels, the table, optimised images
    map_sheets         feature maps on sheets, as pages and worksheets draw them
    occlusion, evidence    what in the image the answer is based on    agreement    how much two such maps agree
    sanity             whether such pictures depend on what was learnt
    invariance, lesions, adversarial    the image moved; the network with parts switched off; the answer turned
    accuracy/          from predictions to every figure         reports       the figures of the five student reports
    checkpoints/       trained networks on disk                 evaluation    a network's predictions
    pretrained, weights    networks that others trained; which weights of which network
    views, playbacks    what is looked at; what is played back from there, and set side by side
    batch_statistics   batch norm in training: what it does that the statistics are those of a batch
    batch_norm, patches, patch_sheets, maximization/, all_networks    what needs whole checkpoints or all images
    probes             linear classifiers on each layer's features
    effective_field, inactivity    which pixels a unit makes use of; which units respond to nothing
    training/          from a recipe to a checkpoint; queue/: runs that a page starts
    evolution          how features come about: one map at several moments of a training
    lectures/          paths through the app's views, and the figures in their texts
    own_checkpoint, zoo, doctor    commands: add a network of your own; README's table of results; what a lecture lacks

Start with `tape` and `deconv`: they are what the app is built on.
"""

from engine.lean_torchvision import postpone_compiler

postpone_compiler()
