"""The list of variants per set; what `--set` names, and what the suites of other tools parametrize over.

Nothing but the standard library is imported here: asv evaluates this file in the environment of every commit, and
finds a case by its place in the list. So the lists are written out, in a fixed order, and never filtered.
"""

from __future__ import annotations

_MODELS = ("resnet20", "autoencoder", "vit")
_EVA = ("eva", "eva-8bit", "eva-8bit-cpu")

# Everything once, small enough for every push.
SMOKE = ("autoencoder/sgd/none", "autoencoder/eva/none", "autoencoder/eva-8bit/none", "autoencoder/eva-8bit-cpu/none")

# The main job: each form of Eva on each model beside plain SGD, batch 1.
PR = tuple(f"{model}/{optimizer}/none" for model in _MODELS for optimizer in ("sgd", *_EVA))

# What a chart over commits follows.
HISTORY = (*PR, *(f"{model}/adamw/none" for model in _MODELS))

_OPTIMIZERS = ("sgd", "sgd-foreach", "adamw", "adamw-foreach", *_EVA)

# Every model with every optimizer, at batch 1 and at a batch where Eva's 16-sample statistics are a subset. The last
# map of MobileNetV2 is one pixel here, which batch normalization cannot normalize at batch 1.
FULL = (
    *(f"{model}/{optimizer}/none" for model in _MODELS for optimizer in _OPTIMIZERS),
    *(f"{model}/{optimizer}/none@batch=32" for model in (*_MODELS, "mobilenetv2") for optimizer in _OPTIMIZERS),
)

SETS = {"smoke": SMOKE, "pr": PR, "history": HISTORY, "full": FULL}
