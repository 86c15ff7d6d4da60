"""What the autoscaler is told of a launch."""

from __future__ import annotations

import pytest

from tune_app.cloud.autoscaling.nodes import Outcome, launch_of, launch_problem, request_id
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.errors import BackOffError, InFlightError, NoOfferError, UncertainError
from tune_app.cloud.renting.workers import Node

STARTED = 1_000.0


def node(since: float) -> Node:
    return Node(
        contract=7,
        request="launch-1",
        node_type="worker",
        k=2,
        label="stellux/mine/worker/2/launch-1.1",
        machine=1,
        gpu="RTX 4090",
        cpus=8.0,
        dollars_per_hour=0.3,
        since=since,
        status="",
    )


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ([node(STARTED), node(STARTED + 1)], None),
        ([NoOfferError("too dear"), NoOfferError("too dear")], "too dear"),
        ([node(STARTED), BackOffError("wait"), NoOfferError("too dear")], "wait; too dear"),
        ([node(STARTED - 60)], "request launch-1 has its worker already: instance 7"),
        # In doubt: a failure that is told would bring a launch under another id beside this one.
        ([UncertainError("sent")], None),
        ([InFlightError("again")], None),
        ([DaemonError("no answer"), NoOfferError("too dear")], None),
    ],
)
def test_only_what_is_certain_is_told(outcomes: list[Outcome], told: str | None) -> None:
    assert launch_problem(outcomes, STARTED) == told


def test_a_request_tells_its_launch() -> None:
    launch = "f1fda0cb-df42-427d-b671-6d8eb1425304"
    assert launch_of(request_id(launch, 12)) == launch
    assert launch_of("alone") == "alone"
