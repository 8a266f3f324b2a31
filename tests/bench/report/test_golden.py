"""Whole reports, to be read by people: `STEPBENCH_UPDATE_GOLDEN=1` takes over what changed on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analyze.row import Mean, Standing
from bench.data.accuracy import Accuracy, Scored
from bench.data.measurement import Caveat
from bench.report import document, markdown, seed, terminal
from tests.bench.report.conftest import ENVIRONMENT, make_row, make_table

HOSTILE = "<img src=x> | `code` @octocat #12 [a](b) **x**\n\x1b[31mred\u202e https://example.com"


def counters(forward, backward, optimize, state, loss):
    """Counters from (operations, syncs, FLOPs) of each phase, bytes of state and the loss."""
    phases = {"forward": forward, "backward": backward, "optimize": optimize}
    values = {
        f"{phase}.{name}": value
        for phase, counts in phases.items()
        for name, value in zip(("operations", "syncs", "flops"), counts, strict=True)
    }
    return {**values, "saved_bytes": 2_129_920, "peak_bytes": 4_259_840, "state_bytes": state, "loss": loss}


def busy(cores):
    return Caveat(
        code="foreign-load", message=f"other processes kept {cores} of 2 cores busy: stop them and measure again"
    )


DRIFT = Caveat(code="drift", message="steps became 7 % slower in the course of the run: measure again")
FORWARD, BACKWARD = (95, 0, 40_812_544), (203, 0, 81_166_336)


def complete():
    """What a run of the main job looks like: two models, the baseline, a failure, notes on some rows."""
    return make_table(
        make_row(
            "resnet20/sgd/none", (0.0119066, 0.0207832, 0.0008749, 0.0338111), caveats=(busy(0.7),),
            counters=counters(FORWARD, BACKWARD, (65, 0, 0), 1_089_896, 2.1874), parts={"momentum": 1_089_896},
        ),
        make_row(
            "resnet20/eva/none", (0.0123012, 0.0214410, 0.0031255, 0.0371022), ratio=1.09734, half=0.004,
            counters=counters((137, 0, 40_812_544), BACKWARD, (69, 1, 2_179_792), 1_105_352, 2.0518),
            parts={"statistics": 15_456, "momentum": 1_089_896},
        ),
        make_row(
            "resnet20/eva-8bit-cpu/none", (0.0124077, 0.0216105, 0.0185749, 0.0532255), ratio=1.57420, half=0.021,
            counters=counters((141, 0, 40_812_544), BACKWARD, (1_034, 100, 2_179_792), 304_117, 2.0533),
            parts={"statistics": 3_904, "momentum": 283_441, "scales": 16_772}, caveats=(busy(1.3), DRIFT),
        ),
        make_row("vit/sgd/none", (0.00284, 0.00571, 0.00061, 0.00933),
                 counters=counters((310, 0, 9_000_000), (640, 0, 18_000_000), (160, 0, 0), 704_000, 2.2991)),
        make_row("vit/eva/none@batch=32,threads=2", failure="RuntimeError: the worker ended with signal 9"),
    )  # fmt: skip


def sparse():
    """What is missing or hostile: no baseline, inference, a null loss, no intervals, names that try to be markup."""
    return make_table(
        make_row("mlp/none/none", (4.11e-5, 5.02e-5), phases=("forward",),
                 counters={"forward.operations": 3, "forward.syncs": 0, "forward.flops": 60, "peak_bytes": 512,
                           "loss": 2.31}),
        make_row("mlp/adamw/none", (4.3e-5, 9.87e-5, 0.0009996, 0.00117), half=None,
                 counters=counters((3, 0, 60), (6, 0, 120), (123_456, 7, 0), 246_240, None),
                 parts={"step": 240, "exp|avg": 123_000, "<b>sq": 123_000}),
        make_row("mlp/eva/none@batch=128,dtype=bfloat16", (0.1, 0.2, 0.3, 0.6), half=3.0, ratio=0.0421,
                 counters={"forward.operations": 3}, caveats=(Caveat(code="x", message=HOSTILE),)),
        make_row("mlp/bad/none", failure=HOSTILE),
        make_row("resnet20/my-sgd/none", (61.0, 122.0, 1.5, 185.0), half=None),
        environment=replace(ENVIRONMENT, cpu="CPU <b>|` @ 1GHz", gpu="GPU_1", host="@build", cores=1,
                            memory_bytes=10**12),
        commits=("no commit", "0123456789abcdef0123456789abcdef01234567"),
    )  # fmt: skip


def standing(share, difference, half, qat_epochs=0, seeds=5, data="digits, 1,347 training and 450 test images"):
    """How accurate a model is; one seed has no interval."""
    scored = tuple(Scored(seed=seed, examples=450, correct=440, float_correct=441) for seed in range(seeds))
    accuracy = Accuracy(model="m", flow="f", data=data, epochs=8, qat_epochs=qat_epochs, seeds=scored)
    ends = [(None, None) if half is None else (center - half, center + half) for center in (share, difference)]
    found = [Mean(center=c, low=low, high=high) for c, (low, high) in zip((share, difference), ends, strict=True)]
    return Standing(accuracy=accuracy, share=found[0], difference=found[1])


def quantized():
    """Inference only: float in several ways, a quantized model, one whose layers stayed float."""
    fastest, plain = (
        "resnet20/none/none@batch=32,dtype=bfloat16,memory_format=channels_last",
        "resnet20/none/none@batch=32",
    )
    inference = {"phases": ("forward",)}
    floats = {"forward.operations": 72, "forward.syncs": 0, "model_bytes": 1_226_496, "integer_bytes": 0, "loss": 2.41}
    integers = {
        "forward.operations": 26,
        "forward.syncs": 0,
        "model_bytes": 317_972,
        "integer_bytes": 302_896,
        "quantized_layers": 20,
        "eligible_layers": 20,
        "output_error": 0.0213,
        "loss": 2.43,
    }
    return make_table(
        make_row(plain, (0.0171, 0.0172), floats=((1.849, fastest), None), counters=floats, **inference),
        make_row(fastest, (0.0092, 0.0093), floats=(None, (0.541, plain)), counters=floats, **inference),
        make_row("resnet20/none/fx-static-x86@batch=32", (0.0046, 0.0047), counters=integers,
                 floats=((0.505, fastest), (0.273, plain)), **inference,
                 accuracies=(standing(0.9773, -0.0013, 0.0042), standing(0.9791, 0.0005, None, 1, seeds=1))),
        make_row("resnet20/none/pt2e-static@batch=32,compiled=true", (0.0045, 0.0046),
                 counters={**integers, "fused_layers": 20}, floats=((0.495, fastest), (0.267, plain)), **inference),
        make_row("resnet20/none/fx-static-x86-qint8@batch=32", failure="0 of 20 layers quantized: no kernel"),
    )  # fmt: skip


TABLES = {"complete": complete, "sparse": sparse, "quantized": quantized}


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", TABLES)
def test_terminal(golden, name, width):
    golden(f"{name}.{width}.txt", terminal.render(TABLES[name](), width=width, color=False))


@pytest.mark.parametrize("name", TABLES)
def test_markdown(golden, name):
    golden(f"{name}.md", markdown.render(TABLES[name]()))


@pytest.mark.parametrize("name", TABLES)
def test_seed(golden, name):
    golden(f"{name}.seed.txt", seed.render(TABLES[name]()))


@pytest.mark.parametrize("name", TABLES)
def test_document(golden, name):
    golden(f"{name}.json", document.render([TABLES[name]()]))


def test_accuracies_of_several_data_name_theirs_in_each_row(golden):
    table = quantized()
    of_others = standing(0.41, -0.05, 0.01, data=HOSTILE)
    rows = [replace(row, accuracies=(of_others, *row.accuracies)) if row.accuracies else row for row in table.rows]
    table = replace(table, rows=tuple(rows))
    golden("accuracies.120.txt", terminal.render(table, width=120, color=False))
    golden("accuracies.md", markdown.render(table))


def test_a_mismatch_leaves_what_was_rendered_beside_the_file(golden, tmp_path, monkeypatch):
    monkeypatch.delenv("STEPBENCH_UPDATE_GOLDEN", raising=False)
    (tmp_path / "x.txt").write_text("old\n")
    with pytest.raises(pytest.fail.Exception, match=r"x\.txt\.got"):
        golden("x.txt", "new", tmp_path)
    assert (tmp_path / "x.txt.got").read_text() == "new\n"
    monkeypatch.setenv("STEPBENCH_UPDATE_GOLDEN", "1")
    golden("x.txt", "new", tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.txt": "new\n"}
