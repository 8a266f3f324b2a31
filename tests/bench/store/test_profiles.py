from __future__ import annotations

import json
import pickle

import pytest

from bench.errors import InvalidRecord
from bench.store import lprof, profiles
from tests.bench.report.profile.samples import explained, profile


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(profiles.encode([profile(), explained()]), encoding="utf-8")
    return path


def test_what_was_written_is_read_back(stored):
    assert profiles.read(stored) == [profile(), explained()]


def test_a_document_says_its_schema_kind_commit_and_file_hashes(stored):
    document = json.loads(stored.read_text())
    assert (document["schema"], document["kind"]) == (1, "profiles")
    first = document["profiles"][0]
    assert first["commit"] == profile().commit
    assert first["environment"]["torch"] == "2.13.0"
    assert first["functions"][0]["sha256"] == "0" * 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "no document of profiles"),
        (lambda text: text.replace('"schema":1', '"schema":9', 1), "schema 9 is newer than 1"),
        (lambda text: text.replace('"kind":"profiles"', '"kind":"comparison"'), "of kind 'comparison'"),
        (lambda text: text.replace('"model":"net"', '"model":"NET!"'), "a name is lower case"),
        (lambda text: "[" * 100_000, "no document of profiles"),
        (lambda text: '"profiles"', "no document of profiles"),
        (lambda text: '{"schema": 1, "kind": "profiles", "profiles": []}', "profiles without a profile"),
        (
            lambda text: text.replace('"kind":"profiles"', '"kind":"comparison"'),
            "profiles are in profiles and profile-diff",
        ),
    ],
)
def test_what_is_no_document_of_profiles_is_refused(stored, change, message):
    stored.write_text(change(stored.read_text()), encoding="utf-8")
    with pytest.raises(InvalidRecord, match=message):
        profiles.read(stored)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(InvalidRecord, match="profile lines VARIANT --json"):
        profiles.read(tmp_path / "none.json")


def test_the_file_for_line_profilers_tools_has_the_same_hits_and_times():
    stats = pickle.loads(lprof.encode([profile()]))  # made a line above
    ((place, lines),) = stats.timings.items()
    assert place == ("toys/net.py", 46, "Net.forward")
    assert [(line, hits) for line, hits, _ in lines] == [(48, 40), (49, 40), (50, 40), (51, 40), (52, 40)]
    assert sum(time for *_, time in lines) * stats.unit == pytest.approx(1664.4e-6 * 40, rel=0.02)
