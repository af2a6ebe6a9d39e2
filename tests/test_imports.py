"""The arrows between the rooms, and what no module may ever do; read from the source, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "vit_demo"
ROOMS = ("data", "training", "explain", "diagnose")
# The floors of the house, the highest first: a module may import what is on a lower floor.
FLOORS = (
    ("app", "__main__"), ("cli",), ("ui",), ROOMS, ("packed",), ("vit",),
    ("hybrid", "encoder", "abstention", "neighbours"), ("checkpoints", "opening", "review", "quality"), ("pixels",),
    ("settings", "words", "jsonl", "threads"), ("errors",),
)
SIDEWAYS = {("training", "data"), ("training", "explain"), ("diagnose", "data")}
# Importable from everywhere: the package itself, for its version.
FREE = ""
UI_LIBRARIES = ("gradio", "plotly")
UNSAFE_LIBRARIES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal")


def room_of(module: str) -> str:
    """"vit_demo.data.open.sources" -> "data"; "vit_demo" -> ""; "app" -> "app"; "vit_demo.cli.train" -> "cli", of which it is a part."""
    parts = module.split(".")
    room = parts[0] if parts[0] != PACKAGE else ".".join(parts[1:2])
    return "cli" if room.startswith("cli_") else room


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imports(module: str, source: str, is_package: bool = False) -> Iterator[tuple[str, bool]]:
    """(full name, whether at the top of the module) of each import, wherever in the file it stands."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        for name in _names(node, module, is_package):
            yield name, id(node) not in inside


def _names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package]
            base = ".".join([*above, *([node.module] if node.module else [])])
        # `from vit_demo import data` names the room only in what is imported.
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        called = ast.unparse(node.func)
        if called in ("__import__", "import_module", "importlib.import_module"):
            return [node.args[0].value]
    return []


def bad_arrows(module: str, source: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, one sentence each."""
    own = room_of(module)
    wrong = []
    for name, at_top in imports(module, source, is_package):
        library = name.split(".")[0]
        if library in UI_LIBRARIES and own != "ui":
            wrong.append(f"{module} imports {library}, which belongs to the ui alone")
        if library in ("app", "tests", "benchmarks"):
            wrong.append(f"{module} imports {name}, which is outside the package")
        if library != PACKAGE:
            continue
        other = room_of(name)
        if other not in sum(FLOORS, ()):
            continue  # a name in the package itself, such as __version__
        if own == FREE:
            wrong.append(f"{module} imports {name}: the package itself imports nothing of its own")
        elif own == "app" and other not in ("ui", "errors"):
            wrong.append(f"{module} imports {name}: app.py starts the ui and knows nothing else")
        elif own == "cli" and other == "ui" and at_top:
            wrong.append(f"{module} imports {name} at its top: the command line must answer without the ui")
        elif other != own and floor_of(other) <= floor_of(own) and (own, other) not in SIDEWAYS:
            wrong.append(f"{module} imports {name}: the arrow goes up or sideways")
    return wrong


def unsafe(module: str, source: str) -> list[str]:
    """Ways to run foreign code that one module uses, one sentence each."""
    wrong = [f"{module} imports {name}" for name, _ in imports(module, source) if name.split(".")[0] in UNSAFE_LIBRARIES]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            if isinstance(node, ast.ImportFrom) and node.module == "torch" and any(alias.name == "load" for alias in node.names):
                wrong.append(f"{module} imports torch.load")
            continue
        called = ast.unparse(node.func)
        if called in ("torch.load", "os.system", "os.popen", "eval", "exec", "joblib.load"):
            wrong.append(f"{module} calls {called}")
        for keyword in node.keywords:
            # Anything but a plain False could be true when it runs.
            if keyword.arg in ("trust_remote_code", "shell", "allow_pickle") and getattr(keyword.value, "value", None) is not False:
                wrong.append(f"{module} passes {keyword.arg}={ast.unparse(keyword.value)}")
    return wrong


def modules() -> list[tuple[str, Path]]:
    """(dotted name, file) of all code that is shipped."""
    files = [ROOT / "app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))]
    return [(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file) for file in files]


MODULES = modules()
NAMES = [name for name, _ in MODULES]


@pytest.mark.parametrize(("module", "file"), MODULES, ids=NAMES)
def test_imports_follow_the_arrows(module: str, file: Path) -> None:
    assert bad_arrows(module, file.read_text(encoding="utf-8"), file.name == "__init__.py") == []


@pytest.mark.parametrize(("module", "file"), MODULES, ids=NAMES)
def test_nothing_runs_foreign_code(module: str, file: Path) -> None:
    assert unsafe(module, file.read_text(encoding="utf-8")) == []


def test_benchmarks_run_no_foreign_code_either() -> None:
    for file in sorted((ROOT / "benchmarks").rglob("*.py")):
        assert unsafe(file.stem, file.read_text(encoding="utf-8")) == []


def opens_pictures(source: str) -> bool:
    """Whether the source calls Pillow's ``open``, under whatever name it imports it."""
    tree = ast.parse(source)
    names = {"PIL.Image.open"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("PIL", "PIL.Image"):
            wanted = "Image" if node.module == "PIL" else "open"
            names |= {(alias.asname or alias.name) + (".open" if wanted == "Image" else "") for alias in node.names if alias.name == wanted}
        if isinstance(node, ast.Import):
            names |= {f"{alias.asname}.open" for alias in node.names if alias.name == "PIL.Image" and alias.asname}
    return any(ast.unparse(node) in names for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load))


def test_pictures_are_opened_at_one_door() -> None:
    assert [name for name, file in MODULES if opens_pictures(file.read_text(encoding="utf-8"))] == [f"{PACKAGE}.opening"]
    for planted in (
        "from PIL import Image\nImage.open(path)", "import PIL.Image\nPIL.Image.open(path)", "from PIL import Image as P\nmap(P.open, paths)",
        "from PIL.Image import open as o\no(path)", "import PIL.Image as I\nI.open(path)",
    ):
        assert opens_pictures(planted), planted
    assert not opens_pictures("from PIL import Image\nopen(path)\nImage.new('RGB', (1, 1))")


def test_every_room_is_walked_and_placed() -> None:
    found = {room_of(name) for name in NAMES} - {FREE}
    assert found == set(sum(FLOORS, ()))


def test_the_walk_sees_the_arrows_that_are_there() -> None:
    """Else a walk that reads nothing would find nothing wrong."""
    seen = {(room_of(module), room_of(name)) for module, file in MODULES for name, _ in imports(module, file.read_text(encoding="utf-8"))}
    known = {("app", "ui"), ("cli", "ui"), ("cli", "training"), ("training", "data"), ("training", "explain"), ("diagnose", "vit"), ("vit", "checkpoints")}
    assert known <= seen


def test_app_is_short() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vit_demo.data.open.sources", "from vit_demo.training import runs"),
        ("vit_demo.explain.attribution.maps", "from vit_demo.data.open.sources import open_dataset"),
        ("vit_demo.diagnose.photos", "import vit_demo.explain.attribution.maps"),
        ("vit_demo.training.loop.finetune", "from vit_demo import diagnose"),
        ("vit_demo.explain.attribution.maps", "from vit_demo.training.run.runs import Run"),
        ("vit_demo.training.loop.finetune", "from vit_demo.ui.shared.components import bars"),
        ("vit_demo.model.classifier", "def later():\n    from vit_demo.data import sources"),
        ("vit_demo.model.classifier", "if TYPE_CHECKING:\n    from vit_demo.explain import maps"),
        ("vit_demo.model.checkpoints", "from vit_demo.model.classifier import LeafClassifier"),
        ("vit_demo.common.settings", "from .checkpoints import locate"),
        ("vit_demo.common.errors", "from vit_demo import settings"),
        ("vit_demo.data.open.sources", "from ..explain import maps"),
        ("vit_demo.data.open.sources", "from .. import explain"),
        ("vit_demo.data.open.sources", "import importlib\nimportlib.import_module('vit_demo.explain.attribution.maps')"),
        ("vit_demo.ui.app", "from vit_demo.cli.main import main"),
        ("vit_demo.ui.app", "import app"),
        ("vit_demo.training.result.card", "import gradio as gr"),
        ("vit_demo.explain.attribution.maps", "def draw():\n    import plotly.graph_objects as go"),
        ("vit_demo.cli.main", "from vit_demo.ui.app import serve"),
        ("vit_demo.cli.main", "def run():\n    import gradio"),
        ("app", "from vit_demo.training import runs"),
        ("app", "import gradio"),
        ("vit_demo", "from vit_demo.model.classifier import LeafClassifier"),
    ],
)
def test_a_planted_bad_arrow_is_found(module: str, source: str) -> None:
    assert len(bad_arrows(module, source)) == 1


def test_a_relative_import_counts_from_the_package_in_its_init() -> None:
    assert bad_arrows("vit_demo.data", "from ..explain import maps", is_package=True)
    assert not bad_arrows("vit_demo.data", "from .sources import open_dataset", is_package=True)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vit_demo.training.photos", "from vit_demo.data.open.sources import open_dataset"),
        ("vit_demo.training.film.recorder", "from vit_demo.explain.attribution.rollout import attention_rollout"),
        ("vit_demo.training.loop.finetune", "from . import runs"),
        ("vit_demo.cli.main", "def serve():\n    from vit_demo.ui.app import serve"),
        ("vit_demo.cli.main", "from vit_demo import __version__, settings\nfrom vit_demo.explain import maps"),
        ("vit_demo.ui.app", "import gradio\nfrom vit_demo.diagnose import photos"),
        ("app", "from vit_demo.ui.app import serve\nfrom vit_demo.common.errors import UserError"),
        ("vit_demo.model.classifier", "import torch\nfrom vit_demo import checkpoints"),
    ],
)
def test_a_good_arrow_is_left_alone(module: str, source: str) -> None:
    assert bad_arrows(module, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch\ntorch.load('weights.pt', weights_only=True)",
        "from torch import load",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=yes)",
        "open_model('x', trust_remote_code=True)",
        "import numpy as np\nnp.load('x.npz', allow_pickle=True)",
        "import os\nos.system('ls')",
        "eval('1')",
    ],
)
def test_a_planted_danger_is_found(source: str) -> None:
    assert len(unsafe("planted", source)) == 1


def test_words_about_dangers_are_no_dangers() -> None:
    assert unsafe("planted", '"""Never pickle, torch.load or shell=True."""\nopen_model(trust_remote_code=False)') == []
