"""`python -m solutions.gpu.models [NAME ...]`: parameters and multiply-adds of the networks, beside published ones."""

from __future__ import annotations

import sys

import torch

from solutions.gpu.models.network import Published, count_multiply_adds, count_parameters
from solutions.gpu.models.zoo import NETWORKS, create

HEAD = ("network", "input", "parameters", "published", "", "difference", "multiply-adds", "published", "",
        "difference")
LEFT = (0, 4, 8)  # columns of words; the others are numbers


def cells(count: int, published: Published | None, notes: list[str]) -> tuple[str, str, str, str]:
    """A count, the published number, its source, and by how much the count is above the number if it is."""
    if published is None:
        return f"{count:,}", "", "", ""
    if published.agrees(count):
        return f"{count:,}", published.text, published.source, "0"
    difference = count - published.value
    gap = f"{int(difference):+,}" if published.exact else f"{100 * float(difference / published.value):+.1f} %"
    if not published.but:
        return f"{count:,}", published.text, published.source, f"{gap} !"
    if published.but not in notes:
        notes.append(published.but)
    return f"{count:,}", published.text, published.source, f"{gap} [{notes.index(published.but) + 1}]"


def main(names: list[str]) -> int:
    """Print the table of the networks `names`, or of all; return 1 if a count differs without a reason, else 0."""
    for unknown in sorted(set(names) - set(NETWORKS)):
        sys.exit(f"there is no network {unknown!r}; there are {', '.join(NETWORKS)}")
    rows, notes = [HEAD], []
    for name in names or NETWORKS:
        with torch.device("meta"):
            model = create(name)
        network = NETWORKS[name]
        rows.append((name + " †" * network.segmentation, "×".join(map(str, network.input)),
                     *cells(count_parameters(model), network.parameters, notes),
                     *cells(count_multiply_adds(model, network.input), network.multiply_adds, notes)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(w) if i in LEFT else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip())
    print("\nFor one image, in evaluation mode.  A multiply-add is one multiplication and the addition behind it, in\n"
          "convolutions and matrix products; biases, normalisation, activation functions and pooling are not counted.\n"
          "A difference is 0 where our number rounds to the digits that were published.")
    if any(NETWORKS[name].segmentation for name in names or NETWORKS):
        print("† gives logits for every pixel, for segmentation.")
    for i, note in enumerate(notes, 1):
        print(f"[{i}] {note}.")
    wrong = [row[0] for row in rows if any(cell.endswith("!") for cell in row)]
    if wrong:
        print(f"!  Not what was published, and no reason given: {', '.join(wrong)}.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
