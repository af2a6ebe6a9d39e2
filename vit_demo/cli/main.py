"""The same things as on the page, without a browser: ``python -m vit_demo train | runs | data | review |
evaluate | calibrate | predict | export | explain | faithfulness | serve``.

Results go to standard output (with --json as one object, or one object a photo and line),
progress and warnings to standard error. A mistake of the user prints one sentence and exits 2.
Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from vit_demo import __version__
from vit_demo.cli import calibrate as cli_calibrate
from vit_demo.cli import data as cli_data
from vit_demo.cli import evaluate as cli_evaluate
from vit_demo.cli import explain as cli_explain
from vit_demo.cli import export as cli_export
from vit_demo.cli import faithfulness as cli_faithfulness
from vit_demo.cli import predict as cli_predict
from vit_demo.cli import review as cli_review
from vit_demo.cli import runs as cli_runs
from vit_demo.cli import train as cli_train
from vit_demo.cli.corrections import fold
from vit_demo.common import settings
from vit_demo.common.errors import UserError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of a screen of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.\n")


def command() -> NoReturn:
    """The command line of this process, to its end.

    One of several processes ends without taking Python down: threads of their connection may outlive it, and
    one that wants Python back while that is being taken down kills the process after its work is done.
    """
    status = main()
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        # As on standard error: a name that the terminal cannot show must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _say_which_beans(options)
        fold(options)
        threads = settings.load().threads
        if threads and options.command != "serve":
            import torch

            torch.set_num_threads(threads)
        return options.run(options) or 0
    except UserError as error:
        # Names in it may come from a stranger's archive: no sign of theirs may steer the terminal.
        print(
            "".join(sign if sign.isprintable() or sign == "\n" else "_" for sign in str(error)),
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _say_which_beans(options: argparse.Namespace) -> None:
    """A name that could be meant otherwise: say on standard error how it is read."""
    from pathlib import Path

    from vit_demo.data.names import BEANS, MENDED

    named = [
        str(getattr(options, name, None) or "").partition("+")[0].strip().removeprefix(MENDED).strip()
        for name in ("data", "extra_data", "spec")
    ]
    if BEANS in named and Path(BEANS).is_dir():
        print(
            f"{BEANS} is read as the photos that come with the program. For the folder {BEANS} that is here,"
            f" type ./{BEANS}.",
            file=sys.stderr,
        )


def parser() -> argparse.ArgumentParser:
    """The command line as it is read; ``run`` of what it gives is the function of the command."""
    whole: argparse.ArgumentParser = _Parser(
        prog="vit_demo", description="See, train and use a Vision Transformer on leaf photos."
    )
    whole.add_argument("--version", action="version", version=f"vit_demo {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    cli_train.add(commands.add_parser("train", help="fine-tune a model"))
    cli_runs.add_to(commands)
    cli_data.add_to(commands)
    cli_review.add_to(commands)
    cli_evaluate.add(commands.add_parser("evaluate", help="score a model on a split"))
    cli_calibrate.add(commands.add_parser("calibrate", help="teach a model when to keep silent"))
    cli_predict.add(commands.add_parser("predict", help="diagnose photos"))
    cli_export.add(commands.add_parser("export", help="a model as ONNX, for use without this program"))
    cli_explain.add(commands.add_parser("explain", help="why the model says what it says of a photo"))
    cli_faithfulness.add(
        commands.add_parser("faithfulness", help="how far such maps can be trusted, over a split")
    )
    _add_serve(commands.add_parser("serve", help="start the page"))
    return whole


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="default: 7860")
    parser.add_argument("--host", help="default: 127.0.0.1, this computer only")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from vit_demo.ui.app import serve

    serve(host=options.host, port=options.port)
