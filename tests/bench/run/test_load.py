from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from bench.errors import DuplicateName, PluginFailed
from bench.run.load import VARIABLE, describe, load

MODEL = """
def register(registry):
    @registry.model("{name}")
    def make(device, dtype, seed):
        return None
"""


@pytest.fixture
def plugin(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def test_installed_plug_ins_come_by_entry_point():
    registry = load()
    assert {"resnet20", "autoencoder", "vit", "mobilenetv2"} <= set(registry.names("model"))


def test_a_plug_in_of_another_distribution_comes_by_the_same_entry_point(tmp_path, monkeypatch):
    (tmp_path / "other_specimens.py").write_text(MODEL.format(name="foreign"))
    info = tmp_path / "other_specimens-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-specimens\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stepbench.plugins]\nother = other_specimens\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert "foreign" in load().names("model")
    finally:
        sys.modules.pop("other_specimens", None)


def test_a_file_comes_by_option_or_by_variable_and_is_loaded_once(plugin, monkeypatch):
    first, second = plugin(MODEL.format(name="one"), "one.py"), plugin(MODEL.format(name="two"), "two.py")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([first, second]))
    assert {"one", "two"} <= set(load([first]).names("model"))


def test_each_load_has_a_registry_of_its_own(plugin):
    path = plugin(MODEL.format(name="one"))
    assert "one" in load([path]).names("model")
    assert "one" not in load().names("model")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('the moon\\nis full')", r"RuntimeError: the moon \(mine.py:1\)"),
        ("def register(registry):\n    1 / 0", r"register\(registry\) raised ZeroDivisionError"),
        ("x = 1", r"has no function register\(registry\)"),
        ("def register(registry):\n    @registry.model\n    def f(): pass", "the name is missing"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_plug_in_that_fails_is_named_with_the_reason_on_one_line(plugin, text, says):
    with pytest.raises(Exception, match=says) as raised:
        load([plugin(text)])
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_an_error():
    with pytest.raises(PluginFailed, match=r"no/such.py: there is no such file"):
        load(["no/such.py"])


def test_a_taken_name_names_both_places(plugin):
    with pytest.raises(DuplicateName, match=r"model 'resnet20' is registered twice: .*models.py:\d+ and .*mine.py:3"):
        load([plugin(MODEL.format(name="resnet20"))])


def test_loading_and_listing_import_no_torch(plugin):
    code = "import sys; from bench.run.load import load; load().parts('model'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_error_without_a_message_is_still_described():
    assert describe(KeyError()) == "KeyError: no message"
