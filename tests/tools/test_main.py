from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(*arguments):
    code = (
        "import sys\nfrom stepbench.__main__ import main\n"
        f"main({list(arguments)!r})\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout, set(done.stderr.splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["measure", "--help"], ["compare", "--help"], ["report"], ["list"]])
def test_commands_that_need_no_torch_do_not_import_it(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, modules = modules_after(*arguments)
    assert "stepbench.__main__" in modules
    assert "torch" not in modules


def test_help_names_every_command_and_the_exit_codes(stepbench):
    code, out, _ = stepbench("--help")
    assert code == 0
    for word in ("measure", "report", "list", "Exit codes", "stepbench measure 'resnet20/*/none'"):
        assert word in out


@pytest.mark.parametrize("command", ["measure", "compare", "report", "list"])
def test_the_examples_of_a_help_text_keep_their_lines(stepbench, command):
    _, out, _ = stepbench(command, "--help")
    assert "\\b" not in out
    assert f"\n    stepbench {command}" in out


def test_no_command_shows_the_help_and_is_wrong_usage(stepbench):
    code, _, err = stepbench()
    assert code == 2
    assert "Commands" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mesure"], "unknown command 'mesure', did you mean 'measure'?"),
        (["perf"], "Missing argument 'VARIANT [VARIANT]'. `stepbench perf --help` has examples."),
        (["measure", "--bach", "1"], "No such option"),
        (["measure", "--batch", "many"], "'many' is not a valid integer"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(stepbench, arguments, says):
    code, out, err = stepbench(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
