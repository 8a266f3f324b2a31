"""`stepbench profile diff`: the lines in which two profiles differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.analyze.line_diff import diff
from bench.data.profile import Profile
from bench.errors import InvalidOption, NothingMeasured, UnknownName
from bench.report.profile import difference, text, words
from bench.store import profiles as store

from . import output, profile_subjects

OF = "::"
# Replicates without which there is no interval.
LEAST = 2


@click.command("diff")
@click.argument("base", metavar="A")
@click.argument("head", metavar="B")
@profile_subjects.sampling
@profile_subjects.options
@click.option("--json", metavar="PATH", help="Write the difference and both profiles as a document.")
@click.option("--markdown", metavar="PATH", help="Write the lines that changed for a pull request.")
@click.option("--html", metavar="PATH", help="Write a page with both sides of every line.")
def command(base: str, head: str, **given: Any) -> int:
    """Name the lines in which two profiles differ.

    A and B are variants, one variant at two commits (VARIANT@@COMMIT; @@. is the working tree), or stored profiles:
    FILE.json, or FILE.json::VARIANT where it holds several (with its @@COMMIT, if need be). What is profiled here is
    taken together, step by step in turn, in processes that build both anew for each replicate. Lines are aligned by
    content: - is gone, + is new, > has moved. A line is named only where its change is real, with a risk of 1 % that
    any line is named in vain, and at least 0.01 % of a step.

    \b
    Examples:
      stepbench profile diff resnet20/eva/none@@main resnet20/eva/none
      stepbench profile diff resnet20/eva/none resnet20/eva-8bit/none
      stepbench profile diff before.json after.json
    """
    output.check(given)
    stored = [_stored(one) for one in (base, head)]
    live = [one for one, found in zip((base, head), stored, strict=True) if found is None]
    if live and given["replicates"] < LEAST:
        raise InvalidOption(
            f"--replicates {given['replicates']}: at least {LEAST} are needed to tell a change from noise"
        )
    found, interrupted = profile_subjects.profiles(live, given) if live else ([], False)
    if len(found) != len(live):
        raise InvalidOption(f"{' '.join(live)}: a difference is of two variants; name each in full, without a *")
    rest = iter(found)
    pair = [one if one is not None else next(rest) for one in stored]
    whole = all(profile.replicates for profile in pair)
    if any(profile.failure for profile in pair):
        click.echo(text.render(pair))
        return output.FAILED
    if whole:
        result = diff(pair[0], pair[1])
        forms = {"json": difference.document, "markdown": difference.markdown, "html": difference.html}
        output.write_all(given, forms, result)
        click.echo(text.difference(result))
    if interrupted:
        return profile_subjects.interrupted(pair if whole else [])
    if not whole:
        raise NothingMeasured(f"{base} and {head}: not one replicate of both was finished")
    return 0


def _stored(given: str) -> Profile | None:
    """Returns a stored profile, None for the name of a variant."""
    path, _, wanted = given.partition(OF)
    if not path.endswith(".json") and not Path(path).is_file():
        return None
    found = store.read(Path(path))
    names = [words.name(profile) for profile in found]
    # Without its version, a name will do where one profile only has it.
    chosen = [one for one, name in zip(found, names, strict=True) if wanted in {"", name, str(one.variant)}]
    if not chosen:
        raise UnknownName(f"profile of {path}", wanted, names)
    if len(chosen) == 1:
        return chosen[0]
    if len(set(names)) < len(names):
        raise InvalidOption(f"{path} holds profiles of one name; store each in a file of its own")
    raise InvalidOption(
        f"{given}: {len(chosen)} profiles; name one: {', '.join(f'{path}{OF}{name}' for name in names)}"
    )
