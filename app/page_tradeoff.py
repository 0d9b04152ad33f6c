"""The page where a report's settings stand as points: what a small model loses, and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st

from unetq.app import frame
from unetq.app.opening import go_to
from unetq.app.tradeoff import COSTS, Case, cases_of, find_reports, open_case, points, read_report
from unetq.report.words import show_bytes, show_delta, show_dice, show_ms

__all__ = ["page"]


def page() -> None:
    """Draws the page once."""
    frame.banner("Tradeoff", "Dice against memory and time")
    with frame.guarded():
        found = find_reports(frame.settings().readable)
        if not found:
            st.info(
                "No report found. Make one with `unetq report RUN... --out DIR`, then start the viewer with its folder."
            )
            return
        a, b, c = st.columns([2, 1, 1.4])
        path = a.selectbox("Report", found, key="report", format_func=lambda p: "/".join(p.parts[-3:]))
        report = read_report(path)
        dataset = b.selectbox(
            "Data set", list(dict.fromkeys(row["dataset"] for row in report["rows"])), key="report data"
        )
        named = [cost for cost, (key, _, _) in COSTS.items() if any(row.get(key) for row in report["rows"])]
        cost = c.selectbox("Against", named, key="cost")
        advice = report.get("recommended", {}).get(dataset)
        if advice:
            st.info(advice["sentence"])
        left, right = st.columns([2, 1], gap="large")
        with left:
            chosen = _chart(report, dataset, cost)
        with right:
            _setting(report, dataset, chosen, path)


def _chart(report: dict[str, Any], dataset: str, cost: str) -> str | None:
    """The points; the setting of the one that was clicked."""
    data = points(report, dataset, cost)
    unit = COSTS[cost][2]
    pick = alt.selection_point(name="pick", fields=["setting"])
    gains = [point["dice"] for point in data]
    margin = max(0.15 * (max(gains) - min(gains)), 0.002)
    base = alt.Chart({"values": data}).encode(
        x=alt.X("cost:Q", title=f"{cost}, {unit}", scale=alt.Scale(type="log", nice=False, padding=30)),
        y=alt.Y("dice:Q", title="Dice", scale=alt.Scale(domain=[min(gains) - margin, max(gains) + margin])),
    )
    line = base.transform_filter("datum.best == 'on the front'").mark_line(color="#0f6b7f", opacity=0.5)
    colour = alt.Color(
        "best:N",
        title=None,
        scale=alt.Scale(domain=["on the front", "beaten by another"], range=["#0f6b7f", "#94a3b3"]),
        legend=alt.Legend(orient="bottom"),
    )
    tips = [
        "setting:N",
        alt.Tooltip("dice:Q", format=".4f"),
        alt.Tooltip("cost:Q", title=f"{cost}, {unit}", format=".3g"),
    ]
    marks = base.mark_circle(size=150, opacity=1).encode(
        color=colour, tooltip=tips, strokeWidth=alt.condition(pick, alt.value(3), alt.value(0), empty=False)
    )
    names = base.mark_text(dy=-14, color="#1f2d3a", fontSize=12).encode(text="setting:N")
    chart = (line + marks.add_params(pick) + names).properties(height=430)
    event = st.altair_chart(
        chart, width="stretch", on_select="rerun", key=f"chart {dataset} {cost}", selection_mode="pick"
    )
    st.caption("Click a point for its numbers and cases. Joined: settings that no other beats in both directions.")
    picked = event["selection"].get("pick") or []
    return str(picked[0]["setting"]) if picked else None


def _setting(report: dict[str, Any], dataset: str, clicked: str | None, path: Any) -> None:
    rows = {row["label"]: row for row in report["rows"] if row["dataset"] == dataset}
    labels = list(rows)
    # A click sets the list; without a mouse the list alone does.
    start = labels.index(clicked) if clicked in rows else 0
    label = st.selectbox("Setting", labels, index=start, key=f"setting {dataset} {clicked}")
    row = rows[label]
    frame.show_table(
        {
            "": [label],
            "Dice": [show_dice(row["dice_mean"], row.get("dice_std"))],
            "Against the reference": [show_delta(row.get("dice_delta")).split("\n")[0]],
            "Parameters": [show_bytes(row["bytes_honest"])],
            "Resident memory": [show_bytes(row.get("peak_rss_bytes"))],
            "Time of one image": [show_ms(row.get("ms_median"))],
            "Runs": [str(row.get("n_runs", 1))],
        }
    )
    cases = cases_of(report, dataset, label, path.parent)
    if not cases:
        st.caption("Its runs are not where the report found them, so there are no cases to see.")
        return
    st.dataframe(
        {"Test case, the worst first": list(cases), "Dice": list(cases.values())},
        hide_index=True,
        height=min(230, 36 * (len(cases) + 1)),
    )
    case = st.selectbox("Case", list(cases), format_func=lambda name: f"{name}, Dice {cases[name]:.4f}")
    found = open_case(report, dataset, label, path.parent, case)
    if found is None:
        st.caption("Its image is not where the run found it, so it cannot be opened here.")
    elif st.button("Open this case", type="primary", width="stretch", on_click=_open, args=(found,)):
        st.switch_page("page_study.py")


def _open(case: Case) -> None:
    """Image, truth and models for the next run of the study page."""
    names = {Path(file): name for name, file in frame.models().items()}
    go_to(str(case.image.resolve()), str(case.truth.resolve()))
    chosen = [name for model in case.models for file, name in names.items() if file.resolve() == model.resolve()]
    if chosen:
        st.session_state["models"] = chosen


if __name__ == "__main__":
    page()
