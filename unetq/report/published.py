"""What the paper (arXiv 1908.01073, abstract) says that W4A6 loses, beside what ours loses."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unetq.report.rows import Row
from unetq.report.words import NONE, show_dice, show_points_interval

__all__ = ["NOTE", "PUBLISHED", "published_rows", "published_table"]

# Data set -> points of Dice lost with 4-bit weights and 6-bit activations.
PUBLISHED = {"em": 2.21, "gm": 0.57, "nih": 2.09}
BITS = (4, 6)
NOTE = (
    "The absolute scores are not comparable: other splits (the paper's public code chooses its epoch on the very cases that it "
    "reports, lets copies of training tiles of EM into validation, and has slices of one NIH patient on both sides), other "
    "pieces of the sets, other networks (theirs has 4.8 million parameters, its first block and last layer in full precision). "
    "Even the losses were measured by two protocols; a smaller one here is a sign, no proof."
)


def published_rows(rows: Sequence[Row]) -> list[Row]:
    """Our W4A6 settings of the data sets that the paper reports."""
    return [row for row in rows if row["dataset"] in PUBLISHED and (row["wbits"], row["abits"]) == BITS]


def published_table(rows: Sequence[Row]) -> str:
    """HTML: the paper's loss and ours; "" where no W4A6 of its data sets is in the report."""
    ours = published_rows(rows)
    if not ours:
        return ""
    lines = []
    for row in ours:
        cells = (
            row["dataset"],
            row["label"],
            f"{PUBLISHED[row['dataset']]:.2f}",
            show_points_interval(row) if row["dice_delta"] is not None else NONE,
            show_dice(row["dice_mean"]),
        )
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("Data", "Setting", "Loss, published", "Loss, ours (95 % interval)", "Dice, ours")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"""<h3>Points of Dice lost at W4A6: the paper and this report</h3>
<div class="panel wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>
<p class="muted">Published: arXiv 1908.01073, abstract; points of Dice, 0 to 100. {escape(NOTE)}</p>
"""
