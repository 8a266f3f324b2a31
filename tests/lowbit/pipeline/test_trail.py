from __future__ import annotations

import dataclasses
import json

import pytest

from lowbit.pipeline import trail_text
from lowbit.pipeline.plan import Plan
from lowbit.pipeline.trail import Entry, Trail, document, rows
from lowbit.quantization.diagnosis import Finding


def entry(stage, epoch, correct, gained=0, lost=0):
    return Entry(
        stage=stage, epoch=epoch, examples=200, correct=correct, correct5=200, loss=0.5, gained=gained, lost=lost
    )  # fmt: skip


def trail(seed=0, correct=(150, 190, 188, 191, 189), findings=()):
    float_1, float_2, calibrated, qat, deployed = correct
    return Trail(
        plan=Plan(model="tiny", flow="kbit-4", seed=seed),
        data="stripes, 96 training and 200 test images",
        entries=(
            entry("float", 1, float_1),
            entry("float", 2, float_2),
            entry("calibration", 0, calibrated, 1, 1 + float_2 - calibrated),
            entry("qat", 1, qat, 4, 4 + float_2 - qat),
            entry("deployed", 0, deployed, 3, 3 + float_2 - deployed),
        ),
        findings=findings,
        quantized=2,
        eligible=4,
        calibrated=256,
    )


FINDING = Finding(code="departs", message="it departs | first at hidden")


def test_a_trail_is_read_back_from_what_files_hold():
    whole = trail(findings=(FINDING,))
    stored = json.loads(json.dumps(document([whole], {"torch": "2"})))
    assert (stored["kind"], stored["schema"]) == ("trail", 1)
    assert Trail.from_plain(stored["runs"][0]) == whole


def test_a_trail_from_before_it_said_how_many_calibrated_is_read_too():
    plain = trail().to_plain()
    del plain["calibrated"]
    found = Trail.from_plain(plain)
    assert found == dataclasses.replace(trail(), calibrated=None)
    assert "; up to 256 calibration examples" in trail_text.heading([found])


def test_the_heading_says_how_many_calibrated_where_there_were_less_than_asked():
    assert "; 256 calibration examples" in trail_text.heading([trail()])
    found = dataclasses.replace(trail(), calibrated=225)
    assert "; 225 of 256 asked calibration examples" in trail_text.heading([found])


def test_the_last_float_epoch_is_the_reference_and_the_others_are_not_shown():
    found = trail()
    assert found.reference.epoch == 2
    assert [row.stage for row in found.shown] == ["float", "calibration", "qat", "deployed"]


def test_rows_are_means_over_seeds_and_differences_by_seed():
    trails = [trail(0), trail(1, (150, 194, 192, 196, 195)), trail(2, (150, 186, 186, 190, 187))]
    found = rows(trails)
    assert [row.stage for row in found] == ["float", "calibration", "qat", "deployed"]
    assert found[0].accuracy.center == pytest.approx((190 + 194 + 186) / 600)
    assert found[0].difference.center == 0
    assert found[3].difference.center == pytest.approx((-1 + 1 + 1) / 600)
    assert found[3].difference.low < 0 < found[3].difference.high


def test_seeds_that_have_not_come_so_far_end_the_rows():
    short = dataclasses.replace(trail(1), entries=trail(1).entries[:3])
    assert [row.stage for row in rows([trail(0), short])] == ["float", "calibration"]


def test_one_run_in_words():
    text = trail_text.markdown([trail(findings=(FINDING,))])
    assert text.startswith("tiny, kbit-4: 2 of 4 layers quantized; stripes, 96 training and 200 test images; seed 0; ")
    assert "| float 2 | 95.00 | 91.0\N{EN DASH}97.3 | 100.00 | 0.5000 | — |  |" in text
    assert "| calibration | 94.00 | 89.8\N{EN DASH}96.5 | 100.00 | 0.5000 | -1.00 | +1 -3, p = 0.62 |" in text
    assert "| qat 1 | 95.50 | 91.7\N{EN DASH}97.6 | 100.00 | 0.5000 | +0.50 | +4 -3, p = 1 |" in text
    assert "McNemar" in text
    assert "[1] it departs | first at hidden\n" in text
    assert "float 1" not in text


def test_several_seeds_in_words():
    trails = [trail(0, findings=(FINDING,)), trail(1, (150, 194, 192, 196, 195)), trail(2)]
    text = trail_text.markdown(trails)
    assert "; seeds 0 to 2;" in text
    assert "| deployed | 95.50 |" in text
    assert "Means over 3 seeds" in text
    assert "for 1 of 3 seeds)" in text
    assert text.count("it departs") == 1


def test_what_is_special_about_a_plan_is_in_its_heading():
    plan = Plan(
        model="tiny", flow="kbit-4", input_scale=1 / 128, modules=(("conv*", "float"),), wide_output="classifier"
    )  # fmt: skip
    text = trail_text.heading([dataclasses.replace(trail(), plan=plan)])
    assert "input scale 0.0078125; conv*: float; classifier: output of 32 bits" in text


@pytest.mark.parametrize(
    ("epochs", "qat_epochs", "says"),
    [
        (3, 2, "adam, lr 0.001, lr 0.0001 in QAT, batch 32"),
        (3, 0, "; adam, lr 0.001, batch 32"),
        (0, 2, "; adam, lr 0.0001 in QAT, batch 32"),
        (0, 0, "; batch 32"),
    ],
)
def test_a_rate_is_told_only_where_something_was_trained_at_it(epochs, qat_epochs, says):
    plan = Plan(model="tiny", flow="kbit-4", epochs=epochs, qat_epochs=qat_epochs)
    assert says in trail_text.heading([dataclasses.replace(trail(), plan=plan)])


def test_every_line_of_the_table_has_the_same_number_of_cells():
    for trails in ([trail()], [trail(0), trail(1)]):
        table = [line for line in trail_text.markdown(trails).splitlines() if line.startswith("|")]
        assert {line.count("|") for line in table} == {len(trail_text.HEADINGS) + 1}
