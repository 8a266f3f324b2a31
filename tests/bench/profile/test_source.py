from __future__ import annotations

import hashlib

from bench.profile.source import Sources


def code(path, text, name="f"):
    path.write_bytes(text)
    space: dict = {}
    exec(compile(text, str(path), "exec"), space)
    return space[name].__code__


def test_a_block_is_the_function_with_its_decorators_and_no_more(tmp_path):
    found = code(tmp_path / "a.py", b"def same(f): return f\n\n@same\ndef f():\n    x = 1\n\n    return x\n\ny = 2\n")
    assert Sources().block(found) == (3, ["@same", "def f():", "    x = 1", "", "    return x"])


def test_the_hash_is_that_of_the_files_bytes(tmp_path):
    text = b"# -*- coding: latin-1 -*-\r\ndef f():\r\n    return '\xe9'"
    sources = Sources()
    found = code(tmp_path / "a.py", text)
    assert sources.text(found.co_filename).sha256 == hashlib.sha256(text).hexdigest()
    assert sources.block(found) == (2, ["def f():", "    return 'é'"])


def test_a_file_is_read_once_and_a_change_of_it_is_said(tmp_path):
    sources = Sources()
    found = code(tmp_path / "a.py", b"def f():\n    return 1\n")
    before = sources.block(found)
    (tmp_path / "a.py").write_text("# new\n\n\ndef f():\n    return 2\n")
    assert sources.block(found) == before
    assert sources.changed(found, "a.py")[0].message.startswith("a.py was changed while it was profiled")


def test_source_that_was_cut_off_is_not_there(tmp_path):
    found = code(tmp_path / "a.py", b"\n\ndef f():\n    return 1\n")
    (tmp_path / "a.py").write_text("")
    assert Sources().block(found) == (3, ["<source not available>"] * 2)
