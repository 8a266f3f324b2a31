from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analyze.comparison import report
from bench.analyze.verdict import Rule
from bench.report import pull_request
from bench.report.comparison.again import again, missing
from tests.bench.report.duets import RUN, duet


def called(*options, rule=None):
    return report(replace(RUN, options=options), [duet(step=0.05, count=12)], rule or Rule(), 1)


def test_options_that_load_nothing_are_repeated_with_their_values():
    options = ("--threads", "2", "--device", "cuda:1", "--data", "digits", "--seed", "3", "--budget", "2.5",
               "--workers", "2", "--isolation", "process")  # fmt: skip
    found = again(called(*options))
    assert found.command == f"stepbench compare {' '.join(options)} 1111111111 . resnet20/eva/none"
    assert missing(found) == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--markdown", "/home/you/.bashrc", "--plugin", "/tmp/x.py"), "--plugin, 1 unknown option"),
        (("--repo", "/tmp/evil"), "--repo"), (("--path", ".."), "--path"), (("--threads=2", "x"), "1 unknown option"),
        (("--seed", "--plugin"), "--seed"), (("--workers", "999999"), "--workers"),
        (("--data", "/etc/passwd"), "--data"),
        (("--budget", "1e9"), "--budget"), (("--seed",), "--seed"), (("--isolation", "none"), "--isolation"),
        (("@octocat", "#1", "-x", "\n"), "2 unknown options"),
    ],
)  # fmt: skip
def test_what_a_stranger_may_have_planted_is_left_out_of_the_command_and_said(options, says):
    text = pull_request.render([called(*options)])
    assert "\nstepbench compare 1111111111 . resnet20/eva/none\n" in text
    assert f"left out of this command, since a stranger may have written it: {says}\n" in text
    assert "bashrc" not in text
    assert "/tmp/" not in text


def test_the_rule_is_that_of_the_report_and_not_the_one_that_was_stored():
    found = again(called("--margin", "0.99", "--threshold", "0.9", rule=Rule(threshold=0.02)))
    assert found.command == "stepbench compare --threshold 0.02 1111111111 . resnet20/eva/none"
    assert missing(found) == ""
