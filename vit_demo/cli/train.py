"""``python -m vit_demo train``: one run, or one for each of several seeds, with each setting of
TrainingConfig.

Started by ``accelerate launch`` or ``torchrun``, all processes come here: the main one has the run,
the others help it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from vit_demo.cli.corrections import add_corrections
from vit_demo.cli.options import DATA
from vit_demo.common.errors import UserError

if TYPE_CHECKING:
    from vit_demo.training.job import Progress
    from vit_demo.training.run.config import TrainingConfig
    from vit_demo.training.run.runs import Run

Done = TypeVar("Done")
# What --help says of each setting; the names, the usual values and the choices are those of TrainingConfig.
SETTINGS = {
    "Photos and model": {
        "data": DATA,
        "data_revision": "branch, tag or commit of the data on the Hub",
        "extra_data": "a second data set, of which only the train photos are used",
        "model": "run or model folder, or a name on the Hub; embedded is the embedded model",
        "model_revision": "branch, tag or commit of the model on the Hub",
        "hybrid": "let a ResNet make the tokens: new for a small untrained one, else what --model takes",
        "head_init": "how a new last layer begins",
        "freeze": "train the last layer alone",
        "attention_only": "leave the MLPs of the encoder as they are (not with a hybrid)",
    },
    "Recipe": {
        "engine": "own loop, or the Trainer of the tutorial",
        "epochs": "passes over the train photos",
        "batch_size": "photos a step, over all processes together",
        "learning_rate": "highest learning rate",
        "warmup": "share of the steps with a rising rate",
        "weight_decay": "pull of the weights towards 0",
        "layer_decay": "factor on the rate for each layer further from the last; 1 is none",
        "label_smoothing": "share of each label that is spread over all classes",
        "average": "decay per step of a moving average of the weights, which is then the model; 0 is none",
        "overshoot": (
            "weight extrapolation: share by which the end weights are also tried further on; validation"
            " decides; 0 is none"
        ),
        "seed": "of order, augmentation and patch dropout",
        "resolutions": "sides in pixels for equal parts of the run, e.g. 112,160,224",
        "small_first": "begin with small photos and let them grow",
        "patch_dropout": "share of the patches that is left out in each step",
        "augment": "how photos are changed at random while training",
        "precision": "auto takes bf16 where the hardware has it",
    },
    "Course": {
        "evaluate_every": "steps between evaluations on validation; 0 means as often as it helps",
        "patience": "end after so many looks without a better one; 0 means never",
        "time_limit": "minutes after which training ends with the best model so far; 0 means none",
        "checkpoint_every": "steps between checkpoints to go on from; 0 means about one a minute",
        "film": "validation photos in the film of where the model looks",
        "report_to": "where else the numbers go",
        "device": "where to train; none means the fastest there is",
        "half": "save the weights as float16",
    },
}


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command its flags: one for each setting, so that a config's command line is read
    back whole.
    """
    from vit_demo.training.run import config
    from vit_demo.training.run.trackers import TRACKERS

    choices: dict[str, Collection[str]] = {
        "engine": config.ENGINES,
        "augment": config.AUGMENTATIONS,
        "precision": config.PRECISIONS,
        "head_init": config.HEAD_INITS,
        "report_to": TRACKERS,
        "device": config.DEVICES,
    }
    default = config.TrainingConfig()
    parser.add_argument(
        "--recipe",
        choices=list(config.RECIPES),
        help="a set of the settings below (default: fast); those that you give yourself count more",
    )
    for title, settings_of_group in SETTINGS.items():
        group = parser.add_argument_group(title)
        for name, about in settings_of_group.items():
            value = getattr(default, name)
            kind: dict[str, Any]
            if isinstance(value, bool):
                kind = {"action": argparse.BooleanOptionalAction}
            elif name in choices:
                kind = {"choices": choices[name]}
            else:
                kind = {"type": _sides if isinstance(value, tuple) else str if value is None else type(value)}
            # Absent unless given, so that a recipe's value is not mistaken for one that was typed.
            group.add_argument(
                "--" + name.replace("_", "-"),
                default=argparse.SUPPRESS,
                help=f"{about} (default: {_in_words(value)})",
                **kind,
            )
    add_corrections(parser)
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="COUNT",
        help="so many runs that differ in the seed alone, with the mean of their test accuracies",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="let a stopped or broken-off run, given by its id or folder, go on here with its own settings",
    )
    parser.add_argument(
        "--out", help="new folder for the run (default: one under the home folder, listed on the page)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=train)


def _in_words(value: object) -> str:
    """A usual value, as --help says it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == ():
        return "the model's own"
    return "none" if value is None else str(value)


def _sides(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in text.split(",") if side.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of whole numbers such as 96,128,224"
        ) from None


def train(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    processes = int(os.environ.get("WORLD_SIZE") or 1)  # as `accelerate launch` and `torchrun` say it
    try:
        return _train(options, processes)
    finally:
        if processes > 1:
            from vit_demo.training.loop.processes import leave

            leave()


def _train(options: argparse.Namespace, processes: int) -> int:
    try:
        earlier = _earlier(options) if options.resume else None
        config = earlier.config() if earlier else config_of(options)
        if options.seeds is not None:
            return _train_seeds(options, config, processes)
        if processes > 1 and not _join(config.device):
            return _help_training()
    except UserError:
        if processes > 1 and os.environ.get("RANK") != "0":
            return 2  # the main process says it
        raise
    from vit_demo.training.run import runs
    from vit_demo.training.worker import execute

    run = earlier or runs.create(config, options.out)
    if earlier:
        _take_up(run)
    try:
        result = _with_prints_on_stderr(lambda: execute(run, _Line()))
    except UserError:
        # A mistyped model must not leave a folder in the way of the next try.
        if not earlier:
            runs.discard_unbegun(run)
        raise
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"Test accuracy {_accuracy(result['test_accuracy'], result['test_interval'])}")
    print(
        f"Validation accuracy {result['validation_accuracy']:.4f}; {result['seconds']:.0f} s; model in"
        f" {result['model']}"
    )
    return 0


def _accuracy(accuracy: float | None, interval: list[float] | None = None) -> str:
    """As it is printed; None is one that could not be measured."""
    if accuracy is None:
        return "not measured"
    if interval is None:
        return f"{accuracy:.4f}"
    low, high = interval
    return f"{accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})"


def _earlier(options: argparse.Namespace) -> Run:
    """The run that --resume names."""
    from pathlib import Path

    from vit_demo.training.run import runs

    extra = [name for group in SETTINGS.values() for name in group if hasattr(options, name)]
    extra += [name for name in ("recipe", "seeds", "out") if getattr(options, name) is not None]
    if extra:
        raise UserError("error.cli.resume_settings", name=extra[0].replace("_", "-"))
    run = runs.find(options.resume) or runs.Run(Path(options.resume).absolute())
    if not (run.folder / "config.json").is_file():
        raise UserError("error.cli.resume_no_run", run=options.resume)
    return run


def _take_up(run: Run) -> None:
    """Make an ended run this process's, to go on with; UserError where that cannot be."""
    from vit_demo.training.run import runs
    from vit_demo.training.run.notes import kept

    with runs.changing_runs():  # the page may want the same
        runs.clear_to_resume(run)
        run.claim()
        run.set_state(status="starting", ended=None, **kept(""))


def config_of(options: argparse.Namespace) -> TrainingConfig:
    """Defaults, over them the recipe, over it what was typed."""
    import dataclasses

    from vit_demo.training.run.config import RECIPES, TrainingConfig

    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    typed = {name: value for name, value in vars(options).items() if name in fields}
    # The tutorial's engine takes no settings but the tutorial's.
    recipe = options.recipe or ("tutorial" if typed.get("engine") == "trainer" else "fast")
    return TrainingConfig(**{**RECIPES[recipe], **typed})


def _join(device: str | None) -> bool:
    """Meet the other processes; returns whether this is the main one."""
    from torch.distributed import DistError

    from vit_demo.training.loop.processes import join

    try:
        return join(device).main
    except (DistError, ValueError) as error:
        raise UserError("error.cli.processes_apart", reason=str(error)) from error


def _help_training() -> int:
    """A process beside the main one: computes its part, writes nothing, and ends when the main one does.

    Ctrl-C and a polite kill reach all processes at once: the main one alone decides what follows.
    """
    import contextlib
    import signal

    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    from torch.distributed import DistError

    from vit_demo.training.loop.finetune import fine_tune

    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            fine_tune(None)
    except (UserError, DistError):
        return 2  # the main process says it, or is gone
    except RuntimeError as error:
        if "closed by peer" in str(error) or "reset by peer" in str(error):
            return 2  # the main process ended in the middle of a message
        raise
    return 0


def _train_seeds(options: argparse.Namespace, config: TrainingConfig, processes: int) -> int:
    """Runs under the home folder, one after the other; they go on when this command is ended."""
    if processes > 1:
        raise UserError("error.cli.seeds_processes")
    if options.out:
        raise UserError("error.cli.seeds_out")
    if options.seeds < 2:
        raise UserError("error.cli.seeds_few")
    from vit_demo.training.run import experiments

    going = experiments.submit_seeds(config, options.seeds)
    try:
        _wait(going)
    except KeyboardInterrupt:
        print(f"The runs go on without this command: {', '.join(run.id for run in going)}.", file=sys.stderr)
        raise
    scored = [run for run in going if run.scores()]
    for run in going:
        if run not in scored:
            why = (
                f"The run {run.id} (seed {run.config().seed}) has no result. {run.state().get('message', '')}"
            )
            print(why.rstrip(), file=sys.stderr)
    summary = experiments.summary(going)
    if options.json:
        each = [
            {
                "id": run.id,
                "seed": run.config().seed,
                "test_accuracy": _test_accuracy(run),
                "model": str(run.model_folder),
                "data_notes": run.scores().get("data_notes", []),
            }
            for run in scored
        ]
        print(json.dumps({"experiment": going[0].experiment, "runs": each, **summary.to_dict()}))
    else:
        for run in scored:
            accuracy = _accuracy(_test_accuracy(run))
            print(f"Seed {run.config().seed}: test accuracy {accuracy}, run {run.id}")
        print(summary.sentence())
    return 0 if summary.n + summary.not_measured == len(going) else 2


def _test_accuracy(run: Run) -> float | None:
    """Of a run with scores; None where it could not be measured."""
    found = run.scores().get("test")
    return found["accuracy"] if found else None


def _wait(going: list[Run]) -> None:
    """Until all these runs have ended, with their progress on one line, and above it once what is known of
    their photos.
    """
    import time

    from vit_demo.training.job import Progress
    from vit_demo.training.run.notes import english_all
    from vit_demo.training.run.status import GOING, RunStatus

    line = _Line()
    said: set[str] = set()
    while True:
        states = [run.state() for run in going]
        notes = [note for state in states for note in english_all(state.get("data_notes"))]
        for note in dict.fromkeys(note for note in notes if note not in said):
            print(note, file=sys.stderr)
        said |= set(notes)
        left = [state for state in states if state["status"] in GOING]
        if not left:
            return
        busy = next((state for state in left if state["status"] != RunStatus.WAITING), left[0])
        number = states.index(busy) + 1
        line(
            Progress(
                busy["status"],
                busy.get("done", 0),
                busy.get("total", 0),
                f"Run {number} of {len(going)}: {busy.get('message') or busy['status']}",
            )
        )
        time.sleep(0.5)


def _with_prints_on_stderr(work: Callable[[], Done]) -> Done:
    """What the training loop prints is progress, not the result."""
    import contextlib

    with contextlib.redirect_stdout(sys.stderr):
        return work()


class _Line:
    """Progress on standard error: one line that is rewritten, on a terminal only."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        if self._terminal:
            print(
                f"\r\033[K{progress.message or progress.status} {progress.done}/{progress.total}",
                end="\r",
                file=sys.stderr,
                flush=True,
            )
