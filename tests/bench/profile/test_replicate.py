from __future__ import annotations

import random

import pytest

from bench.data.variant import Variant
from bench.errors import InvalidVariant
from bench.profile.messages import Subject
from bench.profile.replicate import take

NET = Subject(variant=Variant.parse("net/descent/none"))


def test_every_line_that_runs_once_a_step_has_a_hit_a_step(host):
    (taken,) = take(host, [NET], 6, random.Random(0), first=True)
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
    assert taken.events > sum(line.hits for line in forward.lines) / 6


def test_a_line_that_calls_a_hooked_module_says_what_part_is_the_hook(host):
    (taken,) = take(host, [NET], 2, random.Random(0), first=False)
    forward = next(function for function in taken.functions if function.name == "Net.forward")
    line = next(line for line in forward.lines if "self.first" in line.text)
    assert 0 < line.hooks["looks"] <= 1
    assert {one.name: one.count for one in line.operations} == {"aten.addmm": 1, "aten.mul": 1, "aten.add": 1}


def test_what_breaks_stands_in_its_place_and_the_others_go_on(host):
    broken = Subject(variant=Variant.parse("net/broken/none"))
    found = take(host, [broken, NET, broken], 2, random.Random(1), first=False)
    assert [isinstance(one, str) for one in found] == [True, False, True]
    assert "no optimizer today" in found[0]


def test_an_unknown_function_breaks_its_own_subject_only(host):
    wrong = Subject(variant=NET.variant, functions=("Net.backward",))
    first, second = take(host, [wrong, NET], 1, random.Random(1), first=False)
    assert first.startswith("unknown function 'Net.backward'")
    assert second.functions


def test_one_code_object_may_be_watched_by_two_subjects(host):
    first, second = take(host, [NET, NET], 5, random.Random(2), first=False)
    for taken in (first, second):
        forward = next(function for function in taken.functions if function.name == "Net.forward")
        assert next(line for line in forward.lines if "tanh" in line.text).hits == 5


def test_compiled_variants_are_refused(host):
    with pytest.raises(InvalidVariant, match="lines of compiled code do not run"):
        host.built(Subject(variant=Variant.parse("net/descent/none@compiled=true")))


def test_a_file_that_was_written_while_it_was_profiled_is_said_to_have_changed(host):
    (taken,) = take(host, [NET], 1, random.Random(0), first=False)
    assert taken.caveats == ()
    host.begun = 0.0
    (taken,) = take(host, [NET], 1, random.Random(0), first=False)
    assert {caveat.code for caveat in taken.caveats} == {"source-changed"}
    assert any("toy.py was changed while it was profiled" in caveat.message for caveat in taken.caveats)
