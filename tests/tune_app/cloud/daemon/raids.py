"""What hostile code does at the daemon's socket: it asks for workers, as often and oddly as it can.

Of the standard library alone: a Ray task on a cluster's head runs it as it stands here.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any


def raid(path: str, node_type: str, seconds: float) -> dict[str, Any]:
    """Asks from 40 threads at once, with requests that no client of ours would send.

    Args:
        path: of the socket.
        node_type: one that the cluster has.

    Returns: how often it `asked`, the contracts that it `rented`, and an answer of each kind.
    """
    until = time.monotonic() + seconds
    huge = 10**30
    forged = {"price": 1e-9, "bid": 1e-9, "spent": -1e300, "cap_dollars": 1e300, "k": 2}
    forged |= {"max_instances": huge, "launches_per_minute": huge, "cluster": "other", "offer": 1}
    names = [huge, -1, None, True, ["a"], {}, "", ".", "a/b", "../x", "x" * 10_000, "x\0", "a\nb"]
    odd = [
        *({"op": "create", "node_type": node_type, "request": name, **forged} for name in names),
        *({"op": "create", "node_type": name, "request": "odd"} for name in [*names, "head"]),
        *({"op": "create", **forged}, {"op": "open"}, {"op": "status"}, {"op": "list"}),
        *({"op": "destroy", "contract": n, "reason": "r", "bad": True} for n in (huge, -huge, -1)),
        *({"op": "bill", "working": working} for working in ([huge], [-1, 2**63], {}, "all")),
        *({"op": "drained", "driver": "d", "number": n} for n in (huge, -huge, 1e300)),
    ]
    asked, lock = 0, threading.Lock()
    rented: set[int] = set()
    answers: dict[tuple[str, bytes], str] = {}

    def requests(thread: int) -> Any:
        for turn in range(1_000_000):
            for own in (f"made-up-{thread}-{turn}", f"made-up-{thread}-{turn}", "of-all-threads"):
                yield {"op": "create", "node_type": node_type, "request": own, **forged}
            yield {"op": "drain", "driver": f"driver-{thread}-{turn}"}
            yield odd[(7 * thread + turn) % len(odd)]

    def ask(thread: int) -> None:
        nonlocal asked
        mine = requests(thread)
        while (left := until - time.monotonic()) > 0:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(left)
                    connection.connect(path)
                    with connection.makefile("rb") as reader:
                        for request in mine:
                            connection.sendall(json.dumps(request).encode() + b"\n")
                            line = reader.readline()
                            if not line or time.monotonic() > until:
                                break
                            with lock:
                                asked += 1
                                answers.setdefault((request["op"], line[:80]), line.decode())
                                result = json.loads(line).get("result")
                                if request["op"] == "create" and result:
                                    rented.add(result["contract"])
            except OSError:  # no time left
                pass
            time.sleep(0.02)  # there are more threads than the daemon takes connections

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"asked": asked, "rented": sorted(rented), "answers": list(answers.values())}
