from __future__ import annotations

import random
from pathlib import Path

from bench.data.variant import Variant
from bench.profile.messages import Failed, Subject
from bench.profile.replicate import take
from bench.run.probe import repository
from tests.bench.profile import toy

NET = Subject(variant=Variant.parse("net/descent/none"))


def test_every_line_that_runs_once_a_step_has_a_hit_a_step(host):
    (taken,) = take(host, [NET], 6, random.Random(0))
    by_name = {function.name: function for function in taken.functions}
    forward = by_name["Net.forward"]
    hits = {line.text.strip(): line.hits for line in forward.lines if line.hits}
    assert hits == {
        "x = self.first(x)": 6,
        "x = torch.tanh(x)": 6,
        "for _ in range(3):": 24,
        "x = x + 1": 18,
        "return self.second(x)": 6,
    }
    assert all(len(line.seconds[0]) == 6 for line in forward.lines if line.hits)
    assert forward.file == "tests/bench/profile/toy.py" or forward.file.endswith("/toy.py")
    assert len(forward.sha256) == 64
    assert by_name["halve"].role == "marked"
    assert [len(values) for values in (taken.times.plain["step"], taken.times.profiled["step"])] == [6, 6]
    assert taken.events["forward"] > sum(line.hits for line in forward.lines) / 6
    assert set(taken.events) == {"zero_grad", "forward", "backward", "optimize"}


def test_a_line_that_calls_a_hooked_module_says_what_part_is_the_hook(host):
    (taken,) = take(host, [NET], 2, random.Random(0))
    forward = next(function for function in taken.functions if function.name == "Net.forward")
    line = next(line for line in forward.lines if "self.first" in line.text)
    assert 0 < line.hooks["looks"] < 1
    assert {one.name: one.count for one in line.operations} == {"aten.addmm": 1, "aten.mul": 1, "aten.add": 1}


def test_what_breaks_stands_in_its_place_and_the_others_go_on(host):
    broken = Subject(variant=Variant.parse("net/broken/none"))
    found = take(host, [broken, NET, broken], 2, random.Random(1))
    assert [isinstance(one, Failed) for one in found] == [True, False, True]
    assert "no optimizer today" in found[0].message
    assert not found[0].usage


def test_an_unknown_function_breaks_its_own_subject_only(host):
    wrong = Subject(variant=NET.variant, functions=("Net.backward",))
    first, second = take(host, [wrong, NET], 1, random.Random(1))
    assert first.message.startswith("unknown function 'Net.backward'")
    assert first.usage
    assert second.functions


def test_one_code_object_may_be_watched_by_two_subjects(host):
    first, second = take(host, [NET, NET], 5, random.Random(2))
    for taken in (first, second):
        forward = next(function for function in taken.functions if function.name == "Net.forward")
        assert next(line for line in forward.lines if "tanh" in line.text).hits == 5


def test_compiled_variants_are_refused(host):
    (failed,) = take(host, [Subject(variant=Variant.parse("net/descent/none@compiled=true"))], 1, random.Random(0))
    assert failed.usage
    assert "lines of compiled code do not run" in failed.message


def test_what_is_defined_inside_of_a_hook_is_part_of_it(host):
    (taken,) = take(host, [Subject(variant=Variant.parse("hooked/descent/none"))], 5, random.Random(0))
    by_name = {function.name: function for function in taken.functions}
    receive = by_name["waits.receive"]
    assert receive.role == "hook"
    assert {line.hits for line in receive.lines if line.hits} == {5}
    assert sum(line.events.get("backward", 0) for line in receive.lines) > 0


def test_text_is_that_of_the_first_look_and_a_change_is_said(host, tmp_path, monkeypatch):
    (taken,) = take(host, [NET], 1, random.Random(0))
    assert taken.caveats == ()
    monkeypatch.setattr(host.sources, "begun", 0.0)
    (taken,) = take(host, [NET], 1, random.Random(0))
    assert {caveat.code for caveat in taken.caveats} == {"source-changed"}
    assert any("toy.py was changed while it was profiled" in caveat.message for caveat in taken.caveats)


def test_the_commit_is_that_of_the_repository_in_which_the_model_lies(host):
    (taken,) = take(host, [NET], 1, random.Random(0))
    assert taken.commit == repository(Path(toy.__file__).parent)[0]


def test_a_model_without_a_forward_in_python_is_said_to_have_none(host):
    (taken,) = take(host, [Subject(variant=Variant.parse("opaque/none/none"))], 1, random.Random(0))
    assert {function.role for function in taken.functions} <= {"marked"}
    assert {caveat.code for caveat in taken.caveats} == {"no-forward"}
