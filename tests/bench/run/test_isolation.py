from __future__ import annotations

import contextlib
import importlib
import sys
import textwrap

import pytest
import torch

from bench.data.duet import Version
from bench.errors import PluginFailed
from bench.run import fingerprint
from bench.run.isolation import LateImport, Side, isolated, shared_names, strangers

FILES = {
    "twinpkg/__init__.py": "",
    "twinpkg/value.py": "VALUE = {side!r}\n",
    "twinpkg/late.py": "LATE = {side!r}\n",
    "twinpkg/plugin.py": """
        from twinpkg.value import VALUE

        def register(registry):
            @registry.optimizer("named")
            def named(module):
                from twinpkg.late import LATE
                return VALUE, LATE
    """,
}


@pytest.fixture
def sides(tmp_path):
    def make(extra=None, plugins=("twinpkg.plugin",)):
        made = []
        for name in ("base", "head"):
            root = tmp_path / name
            for file, text in {**FILES, **(extra or {})}.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(textwrap.dedent(text).replace("{side!r}", repr(name)))
            made.append(
                Side(
                    Version(
                        side=name, name=name, commit="c", dirty=False, root=str(root), paths=(str(root),),
                        plugins=tuple(str(root / file) if file.endswith(".py") else file for file in plugins),
                    )
                )
            )  # fmt: skip
        return made

    return make


def test_each_side_gets_its_own_modules_also_those_imported_late(sides):
    pair = sides()
    with isolated(pair) as isolation:
        registries = []
        for side in pair:
            with isolation.inside(side):
                registries.append(side.load())
        for side, registry in zip(pair, registries, strict=True):
            with isolation.inside(side):
                assert registry.get("optimizer", "named").factory(None) == (side.name, side.name)
        assert {name for name in sys.modules if name.startswith("twinpkg")} == set()
    assert not any(finder is isolation for finder in sys.meta_path)


def test_a_side_that_forgets_is_imported_anew(sides):
    base, _ = pair = sides()
    with isolated(pair) as isolation:
        with isolation.inside(base):
            base.load()
            first = sys.modules["twinpkg.value"]
        base.forget()
        with isolation.inside(base):
            base.load()
            assert sys.modules["twinpkg.value"] is not first


@pytest.mark.parametrize("name", ["twinpkg.late", "twinpkg.value", "twinpkg"])
def test_while_neither_side_is_active_none_of_their_modules_can_be_imported(sides, name):
    base, head = sides()
    with isolated([base, head]) as isolation:
        with isolation.inside(base):
            base.load()
        with pytest.raises(LateImport, match="twinpkg"), isolation.neither():
            __import__(name)
        with pytest.raises(LateImport, match="twinpkg"), isolation.neither(), contextlib.suppress(ImportError):
            __import__(name)  # what takes it for a package that is not installed is found out too
        with isolation.neither():
            __import__("colorsys")
        with isolation.inside(base):
            __import__(name)


def test_a_plugin_file_belongs_to_its_side_and_finds_it(sides):
    parts = "from twinpkg.value import VALUE\ndef register(registry):\n    registry.optimizer(VALUE)(len)\n"
    pair = sides({"parts.py": parts}, plugins=("parts.py",))
    with isolated(pair) as isolation:
        for side in pair:
            with isolation.inside(side):
                assert side.load().names("optimizer") == [side.name]


def test_the_instrument_and_the_standard_library_are_never_a_sides_own(sides):
    pair = sides({"bench/__init__.py": "raise RuntimeError", "json/__init__.py": "raise RuntimeError",
                  "twinpkg/value.py": "import bench.plugin, json, colorsys\nVALUE = {side!r}\n",
                  "colorsys.py": "raise RuntimeError"})  # fmt: skip
    sys.modules.pop("colorsys", None)
    with isolated(pair) as isolation, isolation.inside(pair[0]):
        pair[0].load()


def test_a_package_that_is_loaded_from_elsewhere_is_named(sides):
    pair = sides({"click/__init__.py": "", "docs/readme.md": ""})
    assert "click" in sys.modules or __import__("click")
    assert shared_names(pair[0].version) == ["click"]


def test_a_plugin_that_is_not_the_sides_own_or_cannot_be_imported_says_so(sides):
    pair = sides(plugins=("textwrap",))
    with isolated(pair) as isolation, isolation.inside(pair[0]), pytest.raises(PluginFailed, match="was found in"):
        pair[0].load()
    pair = sides({"twinpkg/value.py": "1 / 0"})
    with isolated(pair) as isolation, isolation.inside(pair[0]), pytest.raises(PluginFailed, match="division by zero"):
        pair[0].load()


def test_objects_that_run_the_other_sides_code_are_found(sides):
    pair = sides({"twinpkg/value.py": "class Thing:\n    def run(self):\n        return {side!r}\nVALUE = Thing\n"})
    things = []
    with isolated(pair) as isolation:
        for side in pair:
            with isolation.inside(side):
                side.load()
                things.append(sys.modules["twinpkg.value"].Thing())
    base, head = pair
    assert strangers(base, [head], [things[0]]) == []
    assert "base's Thing.run is" in strangers(base, [head], things)[0]


def test_changed_settings_functions_and_operators_are_found(monkeypatch):
    before, known = fingerprint.fingerprint(), fingerprint.operators()
    assert fingerprint.changes(before, fingerprint.fingerprint()) == fingerprint.registered(known) == []
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: x)
    library = torch.library.Library("stepbench_test", "DEF")
    library.define("nothing(Tensor x) -> Tensor")
    try:
        assert set(fingerprint.changes(before, fingerprint.fingerprint())) == {
            "setting float32 matmul precision", "patched torch.nn.Linear.forward",
        }  # fmt: skip
        assert fingerprint.registered(known) == ["operator stepbench_test::nothing"]
    finally:
        library._destroy()
        torch.set_float32_matmul_precision(precision)


@pytest.mark.filterwarnings("ignore:.*Overriding a previously registered kernel")
def test_hooks_of_all_modules_and_kernels_put_in_place_of_torchs_are_found():
    before = fingerprint.fingerprint()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert fingerprint.changes(before, fingerprint.fingerprint()) == ["setting hooks of all modules"]
    finally:
        handle.remove()
    library = torch.library.Library("aten", "IMPL")
    library.impl("log_normal", lambda x, *_: x, "CPU")
    try:
        assert fingerprint.changes(before, fingerprint.fingerprint()) == ["setting kernels of torch's operators"]
    finally:
        library._destroy()
    assert fingerprint.changes(before, fingerprint.fingerprint()) == []


def test_operators_that_installed_packages_register_when_they_are_first_used_are_no_change():
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    named = {name for name in fingerprint.operators() if name.startswith(("quantized_decomposed::", "aten::add"))}
    assert len(named) > 1
    since = fingerprint.operators() - named
    torch.library.custom_op("stepbench_test::same", lambda x: x.clone(), mutates_args=(), schema="(Tensor x) -> Tensor")
    assert fingerprint.registered(since) == ["operator stepbench_test::same"]
