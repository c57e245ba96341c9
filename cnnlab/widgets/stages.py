"""The stages of a network, from the rows of its table."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from cnnlab import results

MOST = 30  # blocks that a reader can still overlook


def stages(rows) -> list[dict]:
    """What the architecture browser shows of the rows of a `cnnlab.Summary`.

    Layers of one module are one stage, of the smallest modules with which there are no more than 30 stages.
    """
    depths = range(max(row.name.count(".") for row in rows) + 1, 0, -1)
    for depth in depths:
        groups = [list(group) for _, group in groupby(rows, lambda row: ".".join(row.name.split(".")[:depth]))]
        if len(groups) <= MOST:
            break
    return [_stage(group, depth) for group in groups]


def _stage(rows, depth):
    kinds = Counter(row.kind for row in rows)
    return {"name": ".".join(rows[0].name.split(".")[:depth]), "output": list(rows[-1].output[1:]),
            "kind": "; ".join(kind if n == 1 else f"{kind} ({n})" for kind, n in kinds.items()),
            "parameters": sum(row.parameters for row in rows), "multiply_adds": sum(row.multiply_adds for row in rows)}


def known() -> dict[str, list[dict]]:
    """The stages of the networks that come with the course, by name; measured by the experiment `network_stages`."""
    table = results.load("network_stages")
    networks = {}
    for i, network in enumerate(table["network"].tolist()):
        networks.setdefault(network, []).append(
            {"name": str(table["stage"][i]), "output": [int(n) for n in str(table["output"][i]).split("×")],
             "kind": str(table["kind"][i]), "parameters": int(table["parameters"][i]),
             "multiply_adds": int(table["multiply_adds"][i])})
    return networks
