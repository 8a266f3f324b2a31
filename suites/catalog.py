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
# Came later, so that they stand at the end of a list.
_LATER = ("sgd-8bit", "eva-f")

# Every model with every optimizer, at batch 1 and at a batch where Eva's 16-sample statistics are a subset. The last
# map of MobileNetV2 is one pixel here, which batch normalization cannot normalize at batch 1.
FULL = (
    *(f"{model}/{optimizer}/none" for model in _MODELS for optimizer in _OPTIMIZERS),
    *(f"{model}/{optimizer}/none@batch=32" for model in (*_MODELS, "mobilenetv2") for optimizer in _OPTIMIZERS),
    *(f"{model}/{optimizer}/none{at}" for model in _MODELS for optimizer in _LATER for at in ("", "@batch=32")),
)

# Float in its fastest forms, then every flow of every engine; training with fake-quantizers below. One batch size: the
# winner changes with it, and with the number of threads, which --batch and --threads set for all.
_FLOATS = ("", ",memory_format=channels_last", ",dtype=bfloat16,memory_format=channels_last", ",compiled=true")
_ENGINES = ("x86", "onednn", "fbgemm", "qnnpack")
_INFERENCE = (
    *(f"{mode}-static-{engine}" for mode in ("eager", "fx") for engine in _ENGINES),
    *(f"{mode}-{flow}" for mode in ("eager", "fx") for flow in ("static-x86-per-tensor", "dynamic-x86", "qat-x86")),
    "fx-static-x86-qint8", "pt2e-static", "pt2e-dynamic", "kbit-8", "kbit-4", "dorefa-4-4-32", "f8net",
)  # fmt: skip
_TRAINING = ("none", "eager-qat-x86", "fx-qat-x86", "kbit-8", "kbit-4", "dorefa-8-8-8", "dorefa-4-4-4", "f8net")
_CNNS = ("resnet20", "mobilenetv2")
# Came later, so that they stand at the end: the other engines in full, and the models that torch's flows suit less.
_OTHERS = tuple(f"{mode}-{{}}-{engine}" for mode in ("eager", "fx") for engine in _ENGINES[1:])
_DENSE = (
    "none/none", "none/none@compiled=true", "none/fx-dynamic-x86", "none/fx-static-x86",
    "none/pt2e-static@compiled=true", "none/pt2e-dynamic@compiled=true", "none/kbit-8", "none/f8net", "sgd/none",
    "sgd/fx-qat-x86", "sgd/kbit-8",
)  # fmt: skip
_ATTENTION = ("none/none", "none/fx-dynamic-x86", "none/fx-static-x86", "none/pt2e-dynamic", "none/kbit-8")
QUANTIZATION = (
    *(
        variant
        for model in _CNNS
        for variant in (
            *(f"{model}/none/none@batch=32{axes}" for axes in _FLOATS),
            *(f"{model}/none/{flow}@batch=32" for flow in _INFERENCE),
            f"{model}/none/pt2e-static@batch=32,compiled=true",
            *(f"{model}/sgd/{flow}@batch=32" for flow in _TRAINING),
        )
    ),
    *(
        variant
        for model in _CNNS
        for variant in (
            *(f"{model}/none/{flow.format('dynamic')}@batch=32" for flow in _OTHERS),
            *(f"{model}/none/{flow.format('static')}-per-tensor@batch=32" for flow in _OTHERS),
            *(f"{model}/none/{flow.format('qat')}@batch=32" for flow in _OTHERS),
            f"{model}/none/pt2e-qat@batch=32,compiled=true",
            *(f"{model}/sgd/{flow.format('qat')}@batch=32" for flow in _OTHERS),
            f"{model}/sgd/pt2e-qat@batch=32",
        )
    ),
    *(f"autoencoder/{path.replace('@', '@batch=32,') if '@' in path else f'{path}@batch=32'}" for path in _DENSE),
    *(f"vit/{path}@batch=32" for path in _ATTENTION),
)

# Listed to be refused, with the cause: a recipe that leaves every layer in float. Who runs a whole set expects it.
REFUSED = frozenset(f"{model}/none/fx-static-x86-qint8@batch=32" for model in ("resnet20", "mobilenetv2"))

SETS = {"smoke": SMOKE, "pr": PR, "history": HISTORY, "full": FULL, "quantization": QUANTIZATION}
