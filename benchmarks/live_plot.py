"""What one tick of the live view of a run costs, however long the run: ours, and a plain one that reads and
sends all of it.

    python -m benchmarks.live_plot

For runs of 100, 10,000 and 1,000,000 logged steps, with a look at validation each 50 steps: before each tick
one more step is appended, as the worker does; then all is done that the server does for a tick, from the
inputs of the page's callback to the bytes on their way to the browser (view, figure, gradio's own part,
JSON). Prints the median time with its quartiles, the bytes, and both as a multiple of those at 100 steps. The
lengths take turns, tick by tick.

    ours        the page's own callback first look  the same in a server that has just started, with the
    digest that the worker keeps beside its record no digest   the same where there is none, as for a run of
    another program: the one look that reads everything plain       the whole record read anew and all its
    points sent, as a page does it that keeps nothing between two ticks
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gradio as gr
import numpy as np
import orjson
import plotly.graph_objects as go
from gradio.server_messages import ProcessCompletedMessage
from gradio.state_holder import SessionState

from vit_demo.training.run import curves, runs
from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run
from vit_demo.ui.tabs.finetune import live

STEPS = (100, 10_000, 1_000_000)
SIDES = ("ours", "first look", "no digest", "plain")
VALIDATION_EVERY = 50
# The one that reads everything takes seconds at the longest run: it is asked less often there.
SECONDS_A_SIDE = 20.0


def lines(first: int, last: int) -> str:
    """The record of some steps, as the worker writes it."""
    noise = random.Random(first)
    found = []
    for step in range(first, last + 1):
        loss = 0.05 + 1 / (1 + step / 200) + noise.gauss(0, 0.05)
        train = {
            "step": step,
            "epoch": round(step / 65, 4),
            "loss": round(loss, 6),
            "learning_rate": 2e-4 * (1 - step / 2e6),
            "photos_per_second": 41.25,
        }
        found.append(json.dumps({"kind": "train", "time": round(1.7e9 + step * 0.4, 3), **train}))
        if step % VALIDATION_EVERY == 0:
            values = {"step": step, "loss": loss + 0.01, "accuracy": min(1.0, 0.5 + step / 2e6), "side": 224}
            found.append(json.dumps({"kind": "validation", "time": round(1.7e9 + step * 0.4, 3), **values}))
    return "\n".join(found) + "\n"


class Growing:
    """A run that is going, whose record grows."""

    def __init__(self, steps: int):
        self.run = runs.create(TrainingConfig())
        self.run.claim()
        self.step = steps
        with open(self.run.events_file, "w", encoding="utf-8") as file:
            begin = {
                "kind": "begin",
                "time": 1.7e9,
                "total_steps": 2 * steps,
                "steps_per_epoch": 65,
                "photos": 1034,
                "device": "cpu",
            }
            file.write(json.dumps(begin) + "\n")
            for first in range(1, steps + 1, 10_000):
                if steps >= curves.DIGEST_EVENTS and first + 10_000 > steps:
                    file.write(
                        lines(first, steps - curves.DIGEST_EVENTS // 2)
                    )  # as the worker keeps a digest now and then
                    file.flush()
                    kept = curves.Curves()
                    kept.update(self.run)
                    kept.keep(self.run)
                    first = steps - curves.DIGEST_EVENTS // 2 + 1
                file.write(lines(first, min(steps, first + 9_999)))

    def grow(self) -> None:
        """One more step."""
        self.step += 1
        with open(self.run.events_file, "a", encoding="utf-8") as file:
            file.write(lines(self.step, self.step))
        self.run.set_state(status="training", done=self.step, total=2 * self.step)


@dataclass
class Callback:
    """A callback of a page in one browser, and what it was measured to cost: milliseconds and bytes of each
    call.
    """

    page: gr.Blocks
    number: int
    inputs: list
    before: Callable[[], None] = lambda: None
    spent: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._browser = SessionState(self.page)

    def serve(self) -> None:
        """All that the server does for one call, from the inputs as the browser sends them to the bytes it
        gets.
        """
        self.before()
        began = time.perf_counter()
        output = asyncio.run(self.page.process_api(self.page.fns[self.number], self.inputs, self._browser))
        message = ProcessCompletedMessage(output=output, success=True)
        self.sent.append(len(b"data: " + orjson.dumps(message.model_dump(), default=str) + b"\n\n"))
        self.spent.append(1000 * (time.perf_counter() - began))

    def has_time(self) -> bool:
        return len(self.spent) < 3 or sum(self.spent) < 1000 * SECONDS_A_SIDE


def ours() -> gr.Blocks:
    """The page's own view of a run."""
    with gr.Blocks() as page:
        shown = live.build(gr.Dropdown([], allow_custom_value=True))
        gr.Timer(active=False).tick(live.refresh, shown.inputs, shown.outputs)
    return page


def plain() -> gr.Blocks:
    """The whole record read anew, all points sent."""

    def draw(run_id: str) -> go.Figure:
        events = [
            json.loads(line)
            for line in runs.find(run_id).events_file.read_text(encoding="utf-8").splitlines()
        ]
        figure = go.Figure()
        for kind, number in (("train", "loss"), ("validation", "loss"), ("validation", "accuracy")):
            points = [(event["step"], event[number]) for event in events if event["kind"] == kind]
            figure.add_trace(
                go.Scatter(
                    x=[step for step, _ in points], y=[value for _, value in points], name=f"{kind} {number}"
                )
            )
        return figure

    with gr.Blocks() as page:
        run_id, plot = gr.Textbox(), gr.Plot()
        gr.Timer(active=False).tick(draw, run_id, plot)
    return page


def callbacks(run: Run, ours: gr.Blocks, plain: gr.Blocks) -> dict[str, Callback]:
    """The sides, each asked for this run. The callback of the timer is the last that each page has."""

    def forget() -> None:
        curves._cache.clear()

    def lose_digest() -> None:
        forget()
        (run.folder / curves.DIGEST).unlink(missing_ok=True)

    last = max(ours.fns)
    digest = (run.folder / curves.DIGEST).read_bytes() if (run.folder / curves.DIGEST).is_file() else None

    def as_started() -> None:
        forget()
        if digest is not None:
            (run.folder / curves.DIGEST).write_bytes(digest)

    return {
        "ours": Callback(ours, last, [run.id, ""]),
        "first look": Callback(ours, last, [run.id, ""], as_started),
        "no digest": Callback(ours, last, [run.id, ""], lose_digest),
        "plain": Callback(plain, max(plain.fns), [run.id]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=list(STEPS),
        help="logged steps of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--times",
        type=int,
        default=60,
        help="ticks of each side, fewer where they take long (default: %(default)s)",
    )
    options = parser.parse_args()
    pages = ours(), plain()
    costs: dict[int, dict[str, Callback]] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["VIT_DEMO_HOME"] = home
        growing = {steps: Growing(steps) for steps in options.steps}
        costs = {steps: callbacks(one.run, *pages) for steps, one in growing.items()}
        for side in SIDES:
            for steps in list(growing) * options.times:
                if costs[steps][side].has_time():
                    growing[steps].grow()
                    costs[steps][side].serve()
    print(
        f"{'side':12}{'steps':>12}{'ms (median)':>14}{'quartiles':>20}{'kB sent':>10}"
        f"{'time':>9}{'bytes':>9}{'ticks':>7}"
    )
    for side in SIDES:
        first = costs[options.steps[0]][side]
        for steps, sides in costs.items():
            one = sides[side]
            low, median, high = np.percentile(one.spent, [25, 50, 75])
            times, sizes = median / np.median(first.spent), max(one.sent) / max(first.sent)
            quartiles = f"{low:.1f} to {high:.1f}"
            print(
                f"{side:12}{steps:12,}{median:14.1f}{quartiles:>20}"
                f"{max(one.sent) / 1000:10.1f}{times:8.2f}x{sizes:8.2f}x{len(one.spent):7}"
            )


if __name__ == "__main__":
    main()
