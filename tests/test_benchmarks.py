"""The command that runs all benchmarks: none is forgotten, and the report keeps what was not run anew."""

from __future__ import annotations

import sys

import pytest

from benchmarks import __main__ as benchmarks
from tests.conftest import ROOT


def test_every_benchmark_is_in_the_list() -> None:
    scripts = {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - {"__main__", "peers"}
    assert scripts == set(benchmarks.BENCHMARKS)


def test_a_section_takes_its_place_and_the_others_stay() -> None:
    report = benchmarks.replaced("", "explain", "## explain\n\nold\n")
    report = benchmarks.replaced(report, "predict", "## predict\n\n```\n## no section\n```\n")
    report = benchmarks.replaced(report, "explain", "## explain\n\nnew\n")
    assert report.startswith(benchmarks.TITLE) and "old" not in report
    assert report.index("## predict") < report.index("## explain") < report.index("new")
    assert benchmarks.replaced(report, "explain", "## explain\n\nnew\n") == report


def test_a_benchmark_is_run_and_written_down_with_its_machine(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "REPORT", tmp_path / "benchmarks.md")
    monkeypatch.setattr(
        benchmarks, "BENCHMARKS", {"label_errors": "--help {model}", "abstention": "--other {other}"}
    )
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--model", str(tmp_path)])
    assert benchmarks.main() == 0
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert (
        "`python -m benchmarks.label_errors --help MODEL`" in text
        and "GFLOP/s in fp32" in text
        and "torch 2." in text
        and "usage: label_errors.py" in text
    )
    # A folder of this machine does not get into the report, and what needs photos that are not given is left
    # out.
    assert str(tmp_path) not in text and "abstention" not in text
