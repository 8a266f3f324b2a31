"""Preconditioning in C++ beside the equations of eva_update."""

from __future__ import annotations

import pytest
import torch

from lowbit.optimizers import eva_update
from lowbit.optimizers.factors import Factors
from lowbit.optimizers.native.precondition import Preconditioner, Rows, rows_of

# Rows, columns, curvature blocks, bias, rows of the factors or 0: grouped, factored, and large enough to be shared.
LAYERS = [(8, 12, 1, True, 0), (6, 5, 3, True, 0), (6, 5, 2, False, 0), (40, 60, 1, True, 2), (300, 400, 1, False, 0)]


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    grads, biases, a, g, factors = [], [], [], [], []
    for rows, columns, groups, bias, samples in LAYERS:
        known = Factors(random(samples, columns), random(samples, rows)) if samples else None
        grads.append(random(rows, columns) if known is None else known.gradients.T @ known.inputs)
        last = random(rows) if known is None else known.gradients.sum(0)
        biases.append(last if bias else None)
        a.append(random(groups * columns))
        g.append(random(rows))
        factors.append(known)
    return {
        "grads": grads, "bias_grads": biases, "a": a, "g": g, "groups": [layer[2] for layer in LAYERS],
        "lrs": [0.1, 0.2, 0.3, 0.1, 0.05], "known": factors, "damping": 0.03,
    }  # fmt: skip


def by_equations(wide, kl_clip):
    return eva_update.precondition(**{k: v for k, v in wide.items() if k != "known"}, kl_clip=kl_clip)


def by_cpp(given, kl_clip=1e-3):
    scale, columns = Preconditioner()(**given, kl_clip=kl_clip)
    return scale, torch.split(columns.flat, [rows for rows, *_ in LAYERS])


def narrow(values):
    if isinstance(values, torch.Tensor):
        return values.float()
    if isinstance(values, Factors):
        return Factors(*map(narrow, values))
    return [narrow(each) for each in values] if isinstance(values, list) else values


@pytest.mark.parametrize("kl_clip", [1e-3, 1e9, 0, -1, None])
@pytest.mark.parametrize("threads", [1, 2])
def test_scale_and_columns_are_those_of_the_equations(kl_clip, threads):
    wide = problem()
    scale, columns = by_equations(wide, kl_clip)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found_scale, found = by_cpp({k: narrow(v) for k, v in wide.items()}, kl_clip)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found_scale.double(), scale, rtol=1e-5, atol=0)
    for one, other in zip(found, columns, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)


def test_few_rows_of_factors_stand_for_the_gradient_of_which_some_rows_are_read():
    given = {k: narrow(v) for k, v in problem().items()}
    expected = by_cpp(given)
    # Of 40 rows four are compared: 5, 15, 25 and 35.
    given["grads"][3][6].fill_(float("nan"))
    found = by_cpp(given)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(*pair) for pair in zip(found[1], expected[1], strict=True))


def test_a_gradient_that_is_no_product_of_its_factors_is_read():
    wide = problem()
    wide["grads"][3] = wide["grads"][3] + 0.1
    scale, _ = by_equations(wide, 1e-3)
    found, _ = by_cpp({k: narrow(v) for k, v in wide.items()})
    torch.testing.assert_close(found.double(), scale, rtol=1e-5, atol=0)


def test_statistics_of_another_shape_are_refused():
    given = {k: narrow(v) for k, v in problem().items()}
    given["grads"][4] = given["grads"][4][:, :200].contiguous()
    with pytest.raises(RuntimeError, match="are not those of a gradient"):
        by_cpp(given)


def test_gradients_of_zero_are_not_clipped():
    given = {k: narrow(v) for k, v in problem().items()}
    given |= {"grads": [grad * 0 for grad in given["grads"]], "known": [None] * len(LAYERS)}
    given["bias_grads"] = [None if bias is None else bias * 0 for bias in given["bias_grads"]]
    for kl_clip in (1e-3, 0):
        scale, columns = by_cpp(given, kl_clip)
        assert scale.item() == pytest.approx(1 / 0.03)
        assert all((column == 0).all() for column in columns)


def test_a_gradient_that_is_not_finite_makes_columns_that_are_not():
    given = {k: narrow(v) for k, v in problem().items()}
    given["grads"][0][2, 3] = float("nan")
    scale, columns = by_cpp(given)
    assert columns[0].isnan().all()
    assert scale.item() == pytest.approx(1 / 0.03)


def test_what_is_laid_out_serves_a_step_that_is_alike_and_no_other():
    precondition = Preconditioner()
    given = {k: narrow(v) for k, v in problem().items()}
    precondition(**given, kl_clip=1e-3)
    again = {k: narrow(v) for k, v in problem(seed=1).items()}
    for other in (again, {k: v[::-1] if isinstance(v, list) else v for k, v in again.items()}, again):
        found, fresh = precondition(**other, kl_clip=1e-3), Preconditioner()(**other, kl_clip=1e-3)
        assert torch.equal(found[0], fresh[0])
        assert torch.equal(found[1].flat, fresh[1].flat)


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_that_are_known_stand_for_the_gradient(threads):
    given = {k: narrow(v) for k, v in problem().items()} | {"known": [None] * len(LAYERS)}
    expected = by_cpp(given)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        given["known"] = [rows_of(grad, a, len(grad)) for grad, a in zip(given["grads"], given["a"], strict=True)]
    finally:
        torch.set_num_threads(before)
    # Of 300 rows four are compared: 37, 112, 187 and 262.
    given["grads"][4][38].fill_(float("nan"))
    found = by_cpp(given)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(*pair) for pair in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("changed", ["a", "grads"])
def test_rows_of_another_mean_input_or_gradient_are_read(changed):
    given = {k: narrow(v) for k, v in problem().items()} | {"known": [None] * len(LAYERS)}
    # What is compared of them is nothing, whatever they are multiplied by.
    given["grads"][4][37::75] = 0
    rows = rows_of(given["grads"][4], given["a"][4], 300)
    given[changed][4] = given[changed][4] + 1
    expected = by_cpp(given)
    found = by_cpp(given | {"known": [None] * 4 + [rows]})
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1][4], expected[1][4])


def test_rows_are_of_plain_gradients_whose_mean_input_fits():
    grad, a = torch.randn(6, 4), torch.randn(4)
    assert rows_of(grad, a, 6) is not None
    assert rows_of(grad, torch.randn(8), 6) is not None
    assert rows_of(grad.double(), a, 6) is None
    assert rows_of(grad.t().contiguous().t(), a, 6) is None
    assert rows_of(grad, torch.randn(5), 6) is None
    assert rows_of(grad, torch.randn(16), 6) is None


def test_what_is_known_of_another_shape_is_not_used():
    given = {k: narrow(v) for k, v in problem().items()} | {"known": [None] * len(LAYERS)}
    expected = by_cpp(given)
    known = [None, None, None, Factors(torch.empty(0, 60), torch.empty(0, 40)), Rows(torch.randn(7), torch.randn(9, 2))]
    assert torch.equal(by_cpp(given | {"known": known})[0], expected[0])
