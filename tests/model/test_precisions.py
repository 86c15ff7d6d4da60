"""Precisions have one name each, which checkpoints keep."""

from __future__ import annotations

import ast

from model import precisions
from model.precisions import BF16, FP8, FP16, FP32, TF32
from tests.test_imports import MODULES

NAMES = {BF16, FP16, FP32, FP8, TF32}


def test_recorded_trainings_know_them_by_these_names() -> None:
    assert {"bf16", "fp16", "fp32", "fp8", "tf32"} == NAMES


def test_no_other_part_of_the_model_names_one() -> None:
    naming = {
        module
        for module, path in MODULES.items()
        if module.split(".")[0] == "model"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Tuple)
        for one in ast.walk(node.value)
        if isinstance(one, ast.Constant) and one.value in NAMES
    }
    assert naming == {precisions.__name__}
