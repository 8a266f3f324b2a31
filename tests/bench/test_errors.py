from __future__ import annotations

import inspect

import pytest

from bench import errors
from bench.errors import DuplicateName, NothingMeasured, StepbenchError, UnknownName

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, StepbenchError)]


def test_an_unknown_name_lists_the_nearest_and_the_known_in_order():
    error = UnknownName("optimizer", "shampo", ["shampoo", "sgd"])
    assert str(error) == "unknown optimizer 'shampo', did you mean 'shampoo'? (known: sgd, shampoo)"
    assert (error.kind, error.given, error.known) == ("optimizer", "shampo", ["sgd", "shampoo"])


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (["sgd"], "unknown optimizer 'zzz'. (known: sgd)"),
        ([], "unknown optimizer 'zzz'. (known: none)"),
        (["zza", "zzb"], "unknown optimizer 'zzz', did you mean 'zzb' or 'zza'? (known: zza, zzb)"),
    ],
)
def test_a_hint_is_given_where_a_name_is_near(known, text):
    assert str(UnknownName("optimizer", "zzz", iter(known))) == text


def test_a_duplicate_names_both_places_and_what_to_do():
    text = str(DuplicateName("model", "vit", "a.py:1", "b.py:2"))
    assert "model 'vit' is registered twice: a.py:1 and b.py:2" in text
    assert "Rename one" in text


def test_nothing_measured_differs_from_wrong_usage():
    assert {cls.exit_code for cls in CLASSES} == {2, 4}
    assert NothingMeasured.exit_code == 4


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_says_which_mistake_it_is(cls):
    assert inspect.getdoc(cls)
    assert cls.__module__ == "bench.errors"
