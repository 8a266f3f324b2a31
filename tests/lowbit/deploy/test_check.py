"""What a model can be deployed by: the report names what is in the way, where it stands, and the remedy."""

from __future__ import annotations

import dataclasses
import inspect
import json
import linecache
import warnings

import pytest
import torch

from lowbit.deploy import check_place
from lowbit.deploy.check import Ability, Cause, CheckReport, check
from lowbit.deploy.check_cause import known_cause
from lowbit.deploy.check_engines import engines
from lowbit.deploy.check_export import compiles, exports, runs
from lowbit.deploy.check_text import document, text
from lowbit.quantization.flow import quantized
from lowbit.quantization.flows import flow
from tests.lowbit.deploy import models

VALUES = torch.linspace(-1, 1, 8).reshape(2, 4)


@pytest.fixture(scope="module")
def int8():
    torch.manual_seed(0)
    return quantized(flow("fx-static-x86"), models.Tiny(), [VALUES], trains=False)


def line_of(model, words):
    """The file and line at which a model's forward has these words."""
    source, first = inspect.getsourcelines(model.forward)
    number = first + next(index for index, line in enumerate(source) if words in line)
    return f"test{inspect.getsourcefile(model).partition('test')[2]}:{number} in forward: "


def test_a_model_that_can_do_everything_passes_and_is_left_as_it_was():
    module = models.Tiny().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = check(module, VALUES, name="tiny")
    assert report.passes
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    names = [ability.name for ability in report.abilities]
    assert names[:4] == ["forward", "export", "export, strict", "compile"]
    assert "engine x86" in names
    lines = text(report).splitlines()
    assert lines[0] == f"tiny, torch {torch.__version__}"
    assert lines[-1] == "PASS"
    assert any("fx-static-x86: 1 of 1 layers" in line for line in lines)


@pytest.mark.parametrize("strict", [False, True])
def test_control_flow_on_a_tensor_is_named_with_its_line(strict):
    found = exports(models.Branchy(), (VALUES,), strict=strict)
    assert not found.able
    assert found.causes[0].message.startswith("control flow on a tensor")
    assert found.causes[0].place.endswith(line_of(models.Branchy, "if values.sum()") + "if values.sum() > 0:")
    assert "torch.where" in found.causes[0].remedy


@pytest.mark.parametrize(
    ("model", "words", "message", "operator"),
    [
        (models.Branchy, "if values.sum()", "control flow on a tensor", ""),
        (models.Counting, ".item()", "a value of a tensor is taken into Python", ""),
        (models.Selecting, "nonzero", "aten.nonzero.default gives a shape that depends on", "aten.nonzero.default"),
    ],
)
def test_each_graph_break_is_a_cause_with_its_line(model, words, message, operator):
    found = compiles(model(), (VALUES,))
    assert not found.able
    assert "graph break" in found.note
    assert found.causes[0].message.startswith(message)
    assert line_of(model, words) in found.causes[0].place
    assert found.causes[0].operator == operator


def test_an_operator_without_a_shape_is_named():
    with torch.library._scoped_library("stepbenchtest", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CPU")

        class Custom(models.Tiny):
            def forward(self, values):
                return super().forward(torch.ops.stepbenchtest.twice(values))

        found = exports(Custom(), (VALUES,), strict=False)
    assert found.causes[0].operator == "stepbenchtest.twice.default"
    assert "register_fake" in found.causes[0].remedy
    assert line_of(Custom, "twice") in found.causes[0].place


def test_a_model_that_does_not_run_is_tried_no_further():
    report = check(models.Broken(), VALUES)
    assert [ability.name for ability in report.abilities] == ["forward"]
    said = text(report)
    assert "'Broken' object has no attribute 'absent'" in said
    assert line_of(models.Broken, "absent") in said
    assert said.splitlines()[-1].strip().startswith("remedy: ")
    assert runs(models.Tiny(), (VALUES,)).able


def test_packed_weights_are_in_no_graph_but_run_on_every_engine(int8):
    for found in (exports(int8, (VALUES,), strict=False), compiles(int8, (VALUES,))):
        assert found.causes[0].place == "layer layer"
        assert "pt2e-static" in found.causes[0].remedy
    abilities = engines(int8, (VALUES,))
    assert len(abilities) == len([name for name in torch.backends.quantized.supported_engines if name != "none"])
    assert all(ability.able for ability in abilities)
    assert {ability.note for ability in abilities if ability.name == "engine x86"} == {"packed for it"}


def test_a_model_that_is_quantized_by_rounding_in_float_needs_no_engine():
    module = quantized(flow("kbit-4-all-layers"), models.Tiny(), [VALUES], trains=False)
    (found,) = engines(module, (VALUES,))
    assert found.able
    assert found.note.startswith("none needed")


def test_what_no_flow_can_trace_runs_on_no_engine_and_its_cause_is_told_once():
    report = CheckReport(model="b", torch="2", abilities=tuple(engines(models.Branchy(), (VALUES,))))
    assert not any(ability.able for ability in report.abilities)
    ((cause, names),) = report.causes().items()
    assert len(names) == len(report.abilities)
    assert line_of(models.Branchy, "if values.sum()") in cause.place


def test_a_model_that_cannot_be_copied_is_a_cause_too():
    class Unique(models.Tiny):
        def __deepcopy__(self, memo):
            raise TypeError("there is only one of me")

    report = CheckReport(model="u", torch="2", abilities=tuple(engines(Unique(), (VALUES,))))
    ((cause, names),) = report.causes().items()
    assert cause.message == "TypeError: there is only one of me"
    assert len(names) == len(report.abilities)


def test_a_model_of_two_tensors_is_told_how_to_be_quantized():
    (found,) = engines(models.Two(), (VALUES, VALUES))
    assert "wrap it" in found.causes[0].remedy


def test_nothing_is_printed_and_no_warning_leaves_a_check(capfd):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        exports(models.Branchy(), (VALUES,), strict=False)
        compiles(models.Counting(), (VALUES,))
    assert seen == []
    assert capfd.readouterr() == ("", "")


def test_the_document_is_plain_and_says_the_verdict():
    cause = Cause(message="m", remedy="r", place="p")
    report = CheckReport(model="x", torch="2", abilities=(Ability(name="export", able=False, causes=(cause,)),))
    plain = json.loads(json.dumps(document(report)))
    assert (plain["kind"], plain["schema"], plain["verdict"]) == ("check", 1, "FAIL")
    assert plain["abilities"][0]["causes"] == [dataclasses.asdict(cause)]
    passing = dataclasses.replace(report, abilities=(Ability(name="export", able=True),))
    assert document(passing)["verdict"] == "PASS"
    assert text(report).splitlines()[-3:] == ["  export: m", "    at p", "    remedy: r"]


def test_the_innermost_line_that_is_none_of_torchs_is_the_place():
    own = (__file__, 1, "forward")
    inner = (torch.__file__, 3, "linear")
    assert check_place.place([own, inner]).endswith(
        f"test_check.py:1 in forward: {linecache.getline(__file__, 1)}".strip()
    )
    assert check_place.place([inner, ("<eval_with_key>.1", 2, "forward")]) == ""


def test_an_error_that_nobody_knows_is_no_known_cause():
    assert known_cause("ValueError: no", place="") is None
    found = known_cause("Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend", place="")
    assert found is not None
    assert found.operator == "aten::add.out"
