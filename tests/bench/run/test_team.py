"""Teams of real processes that need no torch: what is promised is who is heard, who is blamed and who is left."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from bench.errors import WorkerLost
from bench.run import team
from bench.run.team import Team

MEMBER = """
import json, os, sys, time

rank = int(os.environ["RANK"])
for line in sys.stdin:
    job = json.loads(line)
    if rank in job.get("die", ()):
        print("famous last words", file=sys.stderr)
        os._exit(3)
    if rank in job.get("hang", ()):
        time.sleep(1000)
    failure = f"no luck{rank * job.get('unlike', 0)}" if rank in job.get("fail", ()) else None
    caveats = [{"code": os.environ["WORLD_SIZE"], "message": os.environ["STEPBENCH_RANKS_STORE"]}]
    answer = {"failure": failure, "caveats": [{"code": f"rank-{rank}", "message": ""}, *caveats]}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    (tmp_path / "member.py").write_text(textwrap.dedent(MEMBER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(team, "GRACE_S", 0.3)
    made = []

    def start(ranks=2):
        made.append(Team(4, ranks, 1, "passive", module="member", arguments=[]))
        return made[-1]

    yield start
    for each in made:
        each.stop()
        assert not Path(each._folder.name).exists()
        assert all(member._process.poll() is not None for member in each._members)


def ask(given, **job):
    given.send(job)
    return given.receive(20)


def test_rank_0_answers_for_all(make):
    answer = ask(make(3))
    assert [caveat.code for caveat in answer.caveats] == ["rank-0", "3"]


def test_what_all_ranks_fail_at_alike_leaves_them_at_work(make):
    given = make()
    assert ask(given, fail=[0, 1]).failure == "no luck0"
    assert ask(given).failure is None


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"fail": [1]}, "rank 1 of worker 4: no luck0"),
        ({"fail": [1], "hang": [0]}, "rank 1 of worker 4: no luck0"),
        ({"fail": [0, 1], "unlike": 1}, "worker 4: no luck"),
        ({"die": [1]}, "rank 1 of worker 4 ended with code 3: famous last words"),
        ({"die": [1], "fail": [0]}, "rank 1 of worker 4 ended with code 3: famous last words"),
        ({"die": [0], "hang": [1]}, "rank 0 of worker 4 ended with code 3: famous last words"),
    ],
)
def test_a_rank_that_fails_alone_ends_the_team_with_its_reason(make, job, says):
    given = make()
    with pytest.raises(WorkerLost, match=says):
        ask(given, **job)
    assert all(member._process.poll() is not None for member in given._members)


def test_silence_ends_the_team_with_the_names_of_the_silent(make):
    given = make()
    given.send({"hang": [1]})
    with pytest.raises(WorkerLost, match=r"^rank 1 of worker 4 did not answer within 1 s and was stopped"):
        given.receive(1)


def test_a_team_that_has_lost_a_rank_says_so_when_it_is_sent_a_job(make):
    given = make()
    given._members[1]._process.kill()
    with pytest.raises(WorkerLost, match="rank 1 of worker 4 ended by signal 9"):
        ask(given)
