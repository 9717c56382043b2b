"""The dashboard's panels as one picture, from a Prometheus that has the data (needs python3-matplotlib)."""
import json
import os
import re

from watch import OBSERVE


def draw(prometheus, begin, end, events, path):
    """`events`: [(time, name)], drawn as lines through all panels."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    with open(os.path.join(OBSERVE, "dashboard.json")) as file:
        panels = [each for each in json.load(file)["panels"] if each["type"] != "row"]
    columns = 4
    lines = (len(panels) + columns - 1) // columns
    figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 2.3 * lines), squeeze=False)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    for axis, panel in zip(axes.flat, panels):
        for target in panel["targets"]:
            told = prometheus.ask("/api/v1/query_range", query=target["expr"], start=begin, end=end, step=1)
            for series in told["data"]["result"]:
                name = re.sub(r"\{\{(\w+)\}\}", lambda found: series["metric"].get(found[1], ""),
                              target["legendFormat"])
                points = [(at - begin, float(value)) for at, value in series["values"] if value != "NaN"]
                if any(value for _, value in points) or len(told["data"]["result"]) < 4:
                    axis.plot(*zip(*points), label=name, linewidth=1)
        for at, _ in events:
            axis.axvline(at - begin, color="0.8", linewidth=0.6, zorder=0)
        axis.set_title(panel["title"], fontsize=8)
        axis.tick_params(labelsize=6)
        axis.set_ylim(bottom=0)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=5, loc="upper left")
    names = ", ".join("%d s %s" % (at - begin, name) for at, name in events)
    figure.suptitle("seconds of one run of deploy/check topology; grey lines: " + names, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=70)
