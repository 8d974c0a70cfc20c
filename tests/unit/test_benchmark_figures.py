"""The benchmark's arithmetic, its verdicts, and its tables."""

from __future__ import annotations

import pytest

from benchmarks import report, tables
from benchmarks.bars import BARS, Bar
from benchmarks.figures import Spread, largest, middle, percentile, ratio, spread

FLOOR = Bar("orders", 100, "orders/s", "ours")
CEILING = Bar("latency", 10, "ms", "ours", at_most=True)
RATIO = Bar("against them", 4, "x", "ours", "theirs")


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_a_percentile_is_one_of_the_samples(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_a_spread_of_one_sample_is_that_sample() -> None:
    assert spread([7.0]) == Spread(count=1, p50=7.0, p99=7.0, worst=7.0)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        spread([])


@pytest.mark.parametrize(
    ("samples", "expected"), [([3.0, 1.0, 2.0], 2.0), ([1.0, None, 3.0], 2.0), ([None], None), ([], None)]
)
def test_the_median_leaves_out_what_was_not_measured(samples: list[float | None], expected: float | None) -> None:
    assert middle(samples) == expected


def test_the_best_of_what_was_measured_counts() -> None:
    assert largest([1.0, None, 3.0, 2.0]) == 3.0
    assert largest([None]) is None


@pytest.mark.parametrize(
    ("figure", "other", "expected"), [(6.0, 2.0, 3.0), (None, 2.0, None), (6.0, None, None), (6.0, 0.0, None)]
)
def test_a_ratio_needs_both_figures(figure: float | None, other: float | None, expected: float | None) -> None:
    assert ratio(figure, other) == expected


@pytest.mark.parametrize(
    ("bar", "figures", "verdict"),
    [
        (FLOOR, {"ours": 100.0}, "met"),
        (FLOOR, {"ours": 99.9}, "not met"),
        (FLOOR, {}, "not measured"),
        (FLOOR, {"ours": None}, "not measured"),
        (CEILING, {"ours": 10.0}, "met"),
        (CEILING, {"ours": 10.1}, "not met"),
        (RATIO, {"ours": 8.0, "theirs": 2.0}, "met"),
        (RATIO, {"ours": 7.9, "theirs": 2.0}, "not met"),
        (RATIO, {"ours": 8.0}, "not measured"),
        (Bar("later", 1, "x"), {"ours": 8.0}, "no subject yet"),
    ],
)
def test_a_bar_is_met_exactly_from_its_target_on(bar: Bar, figures: dict[str, float | None], verdict: str) -> None:
    assert bar.verdict(figures) == verdict


def test_an_order_counts_as_two_rows_against_plain_inserts() -> None:
    (bar,) = (bar for bar in BARS if bar.over == "limit.two")
    assert bar.value({"millrace.two": 15_000.0, "limit.two": 150_000.0}) == pytest.approx(20.0)


def test_every_bar_has_a_row_that_says_how_it_stands() -> None:
    rows = tables.bar_rows({"millrace.two": 30_000.0})
    assert len(rows) == len(BARS)
    assert rows[0] == ("orders/s, 2 worker processes", "≥ 15,000 orders/s", "30,000", "2.00", "met")
    assert {row[-1] for row in rows} == {"met", "not measured"}


@pytest.mark.parametrize(
    ("latency", "told"),
    [
        ({"slow.p50": None, "slow.p99": None}, "cannot keep up"),
        ({"slow.p50": 2.5, "slow.p99": 12.34}, "2.50 / 12.3"),
        ({}, "-"),
    ],
)
def test_a_peer_has_a_row_that_compares_it(latency: dict[str, float | None], told: str) -> None:
    figures = {"slow.one": 30.0, "slow.best": 60.0, "millrace.best": 15_000.0, "slow.enqueue": 1754.0} | latency
    (row,) = tables.peer_rows(figures, {"slow": "Slow"})
    assert row == ("Slow", "30.0", "60.0", "250 x that", "1,754", "- / -", told)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.123, "0.12"), (9.87, "9.87"), (12.34, "12.3"), (12345.6, "12,346")]
)
def test_a_figure_has_as_many_digits_as_mean_something(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_tables_are_markdown() -> None:
    assert tables.markdown(("what", "figure"), [("a", "1")]).splitlines() == [
        "| what | figure |",
        "|---|---:|",
        "| a | 1 |",
    ]


def test_figures_take_the_place_of_those_before_and_of_nothing_else() -> None:
    page = f"before {report.BEGIN} old {report.END} after"
    once = report.with_figures(page, "new")
    assert once == f"before {report.BEGIN}\n\nnew\n\n{report.END} after"
    assert report.with_figures(once, "new") == once


@pytest.mark.parametrize("page", ["no marks", f"only {report.BEGIN}", f"{report.END} turned round {report.BEGIN}"])
def test_a_page_without_its_marks_is_left_alone(page: str) -> None:
    with pytest.raises(ValueError, match="has to have"):
        report.with_figures(page, "new")


def test_the_page_on_performance_has_its_marks() -> None:
    assert "new" in report.with_figures(report.PAGE.read_text(), "new")
