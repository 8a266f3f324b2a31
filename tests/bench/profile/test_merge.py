from __future__ import annotations

from dataclasses import replace

from bench.data.profile import Function, Line, Operation
from bench.profile.merge import merged

ONE = Function(
    name="f",
    role="named",
    file="a.py",
    sha256="1",
    first=3,
    lines=(
        Line(number=3, text="def f():"),
        Line(
            number=4, text="    g()", hits=2, seconds=((1.0, 2.0),), events={"forward": 4}, hooks={"h": 0.5},
            operations=(Operation(name="add", count=1, seconds=0.1),),
        ),
    ),
)  # fmt: skip


def test_hits_add_up_and_what_is_booked_is_averaged():
    other = replace(ONE, lines=(ONE.lines[0], replace(ONE.lines[1], hits=3, seconds=((4.0, 5.0, 6.0),), hooks={})))
    (found,) = merged([(ONE,), (other,)])
    line = found.lines[1]
    assert (line.hits, line.seconds, line.hooks) == (5, ((1.0, 2.0), (4.0, 5.0, 6.0)), {"h": 0.25})
    assert line.operations == (Operation(name="add", count=1, seconds=0.1),)
    assert found.lines[0].seconds == ()


def test_a_line_that_did_not_run_took_no_time_and_a_function_that_was_not_there_is_not_known():
    idle = replace(ONE, lines=(ONE.lines[0], Line(number=4, text="    g()")))
    (found,) = merged([(ONE,), (idle,), ()])
    assert found.lines[1].seconds == ((1.0, 2.0), (0.0,), ())


def test_a_replicate_of_another_text_is_left_out():
    longer = replace(ONE, sha256="2", lines=(*ONE.lines, Line(number=5, text="    h()", hits=1, seconds=((1.0,),))))
    (found,) = merged([(ONE,), (longer,)])
    assert [line.text for line in found.lines] == ["def f():", "    g()"]
    assert found.lines[1].hits == 2
