"""The drawn blocks of a network: arrows run from edge to edge, in front of the boxes."""

import matplotlib.pyplot as plt

from cnnlab import plots


def test_arrows_end_at_the_boxes_they_join():
    fig, ax = plt.subplots(figsize=(4, 3))
    plots.diagram(ax, {"in": (0, 0, "input"), "out": (1, 2, "a much wider label")}, [("in", "out")])
    fig.canvas.draw()
    source, target, arrow = ax.texts
    # The line alone: the path of the whole arrow has its head in it.
    line = arrow.arrow_patch._get_path_in_displaycoord()[0][0]
    start, end = line.vertices[0], line.vertices[-1]
    for text, point in ((source, start), (target, end)):
        box = text.get_bbox_patch().get_window_extent()
        assert not box.contains(*point)
        assert box.expanded(1.3, 1.6).contains(*point)
    assert arrow.get_zorder() > target.get_zorder()
    plt.close(fig)
