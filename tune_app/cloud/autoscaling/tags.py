"""The tags by which Ray tells the head and the workers of a cluster. Pure."""

from __future__ import annotations

from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UNINITIALIZED,
    STATUS_UP_TO_DATE,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_LAUNCH_REQUEST,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tune_app.cloud.autoscaling.nodes import launch_of
from tune_app.cloud.renting.workers import Node


def head_tags(cluster: str, node_type: str, *, launch_hash: str) -> dict[str, str]:
    """Of the head.

    Args:
        launch_hash: of the YAML that it is up to date with; empty before that is read.
    """
    tags = {
        TAG_RAY_NODE_NAME: f"ray-{cluster}-head",
        TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
        # So that `ray attach` and `ray exec` go there, whatever state it is in.
        TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
        TAG_RAY_USER_NODE_TYPE: node_type,
    }
    return tags | ({TAG_RAY_LAUNCH_CONFIG: launch_hash} if launch_hash else {})


def worker_tags(cluster: str, node: Node) -> dict[str, str]:
    """Of a worker that was just rented; Ray then writes its own progress over them."""
    return {
        TAG_RAY_NODE_NAME: f"ray-{cluster}-worker",
        TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
        TAG_RAY_NODE_STATUS: STATUS_UNINITIALIZED,
        TAG_RAY_USER_NODE_TYPE: node.node_type,
        TAG_RAY_LAUNCH_REQUEST: launch_of(node.request),
    }
