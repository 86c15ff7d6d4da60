"""Sections of the report on a GPU, as far as a CPU can show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu_check.__main__ import Report
from benchmarks.gpu_check.products import padded_product, products, sizes_of
from benchmarks.gpu_check.sharing import sharing
from benchmarks.gpu_check.speed import cells
from model.spec import ModelConfig
from tune_app.api.planned import plan_sweep
from tune_app.cluster.packing import Together
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.gpu_probe import Measure, ProbeError

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=20, n_layers=2, n_heads=4, head_dim=6, d_ff=36
)


@pytest.mark.parametrize("multiple", [8, 64])
def test_a_padded_product_and_its_gradients_are_those_of_the_sizes_as_they_are(
    multiple: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs_RI = torch.randn(5, 20, generator=generator, requires_grad=True)
    weight_OI = torch.randn(12, 20, generator=generator, requires_grad=True)
    upstream_RO = torch.randn(5, 12, generator=generator)
    made = [
        functional.linear(inputs_RI, weight_OI),
        padded_product(inputs_RI, weight_OI, multiple=multiple),
    ]
    torch.testing.assert_close(made[1], made[0])
    gradients = [torch.autograd.grad(one, [inputs_RI, weight_OI], upstream_RO) for one in made]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_the_products_of_a_block_are_those_of_its_weights() -> None:
    assert sizes_of(CONFIG) == [
        ("queries, keys and values", 20, 72),
        ("attention's output", 24, 20),
        ("gate and up", 20, 72),
        ("down", 36, 20),
    ]
    _, _, head, rule, *rows = products(CONFIG, sequences=(1, 2), repeated=1, device="cpu")
    assert len(rows) == 8
    assert {line.count("|") for line in (head, rule, *rows)} == {9}


def test_every_feasible_cell_of_a_space_has_its_speed() -> None:
    planned = plan_sweep(
        {"AXES": {"glu_expansion": [2.0, 4.0]}},
        name="sizes",
        target_parameters=200_000,
        vocab_size=1000,
        tokens=20_000,
        set={"context": 32},
    )
    _, _, head, rule, *rows = cells(planned, steps=1, device="cpu")
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {cell.label}" for cell in planned.plan.feasible
    ]
    assert {line.count("|") for line in (head, rule, *rows)} == {8}


def test_cells_are_added_until_one_runs_out_of_memory_or_fails() -> None:
    def measure(device: str, cell: PlannedCell, *, threads: int, cuda_graph: bool) -> Measure:
        def measured(number: int) -> tuple[Together, int]:
            if cuda_graph and number == 2:
                raise ProbeError("a graph too many")
            full = number > 2
            return Together(
                cells=number, tokens_per_second=1000 * number**0.5, out_of_memory=full
            ), 10**9

        return measured

    baseline = plan_sweep("quick").plan.baseline
    _, _, _, _, *rows = sharing(baseline, measure=measure, overlap=lambda: nullcontext("nothing"))
    assert [row.split(" | ")[1:3] for row in rows] == [
        ["1", "1,000"],
        ["2", "1,414"],
        ["4", "out of memory"],
        ["1", "1,000"],
        ["2", "a graph too many"],
    ]


def test_what_fails_in_a_section_ends_it_alone_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[str]:
        yield "measured before"
        raise RuntimeError("the card is tired")

    report = Report(tmp_path / "gpu.md")
    sections: list[Callable[[], Iterator[str]]] = [broken, lambda: iter(["measured after"])]
    assert [report.section("One", one()) for one in sections] == [False, True]
    written = (tmp_path / "gpu.md").read_text("utf-8")
    assert written == capsys.readouterr().out
    assert written.index("measured before") < written.index("RuntimeError: the card is tired")
    assert written.endswith("\nmeasured after\n")
