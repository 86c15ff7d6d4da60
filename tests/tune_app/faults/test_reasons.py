"""The reason of a failure is what went wrong, in one line."""

from __future__ import annotations

import pytest

from tune_app.faults.reasons import reason_in, reason_of
from tune_app.stores.base import StoreFullError


class WrappedError(RuntimeError):
    """As torch.compile wraps what its compiler says."""

    def __init__(self, inner: BaseException) -> None:
        self.inner_exception = inner
        super().__init__(f"{inner}\n\nSet TORCHDYNAMO_VERBOSE=1 for …")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no width fits"), "ValueError: no width fits"),
        (RuntimeError("CUDA error: x\nFor debugging consider …"), "RuntimeError: CUDA error: x"),
        (WrappedError(WrappedError(KeyError("q"))), "KeyError: 'q'"),
        (RuntimeError("\n\n  at last\n"), "RuntimeError: at last"),
        (MemoryError(), "MemoryError"),
        (StoreFullError("no room"), "tune_app.stores.base.StoreFullError: no room"),
    ],
)
def test_it_is_the_first_line_and_not_the_last(error: BaseException, reason: str) -> None:
    assert reason_of(error) == reason


def test_where_only_a_traceback_is_left_it_is_found_in_it() -> None:
    lines = ["died", "Traceback", '  File "a.py", line 1', "    f()", "OSError: full", "advice"]
    assert reason_in(lines) == "OSError: full"
    assert reason_in(["died", "for a reason"]) == "for a reason"


def test_without_a_message_it_has_its_place() -> None:
    with pytest.raises(AssertionError) as caught:
        raise AssertionError
    assert reason_of(caught.value).startswith("AssertionError: in line ")
    assert reason_of(caught.value).endswith(" of test_reasons.py")
