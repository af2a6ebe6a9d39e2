"""The plan of the house, and what no module may ever do; read from the source, nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = "vit_demo"
# Who may import whom, floor by floor from the top: a room imports only from floors below its own, never
# beside or above.
FLOORS = {
    "vit_demo": (
        "__main__ > cli > ui > training figures diagnose > explain data export > model photos > common"
    ),
    "vit_demo.data": (
        "embedded browse > checks importing open output > corrections > normalise > uniform > plan"
        " > copies names"
    ),
    "vit_demo.explain": "attribution > internals > protocols > patches",
    "vit_demo.training": "embedded > worker > loop > film > job result > photos run",
    "vit_demo.ui": "app > tabs > shared",
    "vit_demo.ui.tabs": "inside finetune > data diagnose",
}
# Arrows that the floors allow and that are still wrong, but in these functions: the command line does not
# need the page, except to serve it.
ONLY_IN = {("cli", "ui"): "vit_demo.cli.main._serve"}
LIBRARIES = {"gradio": ("ui",), "plotly": ("ui", "figures")}
UNSAFE_LIBRARIES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal")


class Import(tuple):
    """(full name, the function in which it stands, or "")."""

    name, function = property(lambda self: self[0]), property(lambda self: self[1])


def imports(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Each import of a module, wherever in the file it stands."""
    tree = ast.parse(source)
    inside = {}
    for function in (
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ):
        inside |= {id(node): function.name for node in ast.walk(function)}
    for node in ast.walk(tree):
        for name in _names(node, module, is_package):
            yield Import((name, inside.get(id(node), "")))


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
    if (
        isinstance(node, ast.Call)
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ):
        called = ast.unparse(node.func)
        if called in ("__import__", "import_module", "importlib.import_module"):
            return [node.args[0].value]
    return []


def floor_of(plan: str, room: str) -> int | None:
    """Number of a room's floor in a plan, 0 at the top; None where it has none."""
    return next((number for number, rooms in enumerate(plan.split(" > ")) if room in rooms.split()), None)


def bad_arrows(module: str, source: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, one sentence each."""
    wrong = []
    parts = module.split(".")
    for found in imports(module, source, is_package):
        library, own = found.name.split(".")[0], ".".join(parts[1:2]) or parts[0]
        if library in LIBRARIES and own not in LIBRARIES[library]:
            wrong.append(
                f"{module} imports {library}, which belongs to {' and '.join(LIBRARIES[library])} alone"
            )
        if library in ("app", "tests", "benchmarks"):
            wrong.append(f"{module} imports {found.name}, which is outside the package")
        if library == PACKAGE:
            wrong += _against_the_plan(parts, found)
    return wrong


def _against_the_plan(parts: list[str], found: Import) -> Iterator[str]:
    target = found.name.split(".")
    if parts[0] != PACKAGE:  # app.py
        if target[1:2] not in (["ui"], ["common"]):
            yield f"{parts[0]} imports {found.name}: it only starts the page"
        return
    for plan, floors in FLOORS.items():
        depth = plan.count(".") + 1
        if ".".join(parts[:depth]) != plan or ".".join(target[:depth]) != plan or len(target) <= depth:
            continue
        own, other = ".".join(parts[depth : depth + 1]), target[depth]
        # A package may hand on what is in it, but for the whole one, which all others import; and __version__
        # has no floor.
        if own == other or (own == "" and plan != PACKAGE) or floor_of(floors, other) is None:
            continue
        if own == "" or floor_of(floors, own) >= floor_of(floors, other):
            yield f"{'.'.join(parts)} imports {found.name}, which is not below it"
        elif (own, other) in ONLY_IN and f"{'.'.join(parts)}.{found.function}" != ONLY_IN[own, other]:
            yield f"{'.'.join(parts)} imports {found.name}, which only {ONLY_IN[own, other]} may"


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other in a loop, one list a loop that a walk meets."""
    found, done = [], set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            found.append(path[path.index(module) :])
        elif module not in done:
            for other in sorted(arrows.get(module, ())):
                walk(other, [*path, module])
            done.add(module)

    for module in sorted(arrows):
        walk(module, [])
    return found


def arrows_of(modules: Iterable[tuple[str, Path]]) -> dict[str, set[str]]:
    """Which module imports which, of those that are given."""
    modules = list(modules)
    names = {name for name, _ in modules}
    arrows: dict[str, set[str]] = {}
    for module, file in modules:
        for found in imports(module, file.read_text(encoding="utf-8"), file.name == "__init__.py"):
            target = found.name if found.name in names else found.name.rpartition(".")[0]
            # The package itself is where its version stands, and imports nothing of it.
            if target in names - {PACKAGE, module}:
                arrows.setdefault(module, set()).add(target)
    return arrows


def unsafe(module: str, source: str) -> list[str]:
    """What runs code from a file or hands words to a shell."""
    wrong = [
        f"{module} imports {found.name}"
        for found in imports(module, source)
        if found.name.split(".")[0] in UNSAFE_LIBRARIES
    ]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module == "torch"
                and any(alias.name == "load" for alias in node.names)
            ):
                wrong.append(f"{module} imports torch.load")
            continue
        called = ast.unparse(node.func)
        if called in ("torch.load", "os.system", "os.popen", "eval", "exec", "joblib.load"):
            wrong.append(f"{module} calls {called}")
        for keyword in node.keywords:
            # Anything but a plain False could be true when it runs.
            if (
                keyword.arg in ("trust_remote_code", "shell", "allow_pickle")
                and getattr(keyword.value, "value", None) is not False
            ):
                wrong.append(f"{module} passes {keyword.arg}={ast.unparse(keyword.value)}")
    return wrong


def opens_pictures(source: str) -> bool:
    """Whether the source calls Pillow's ``open``, under whatever name it imports it."""
    tree = ast.parse(source)
    names = {"PIL.Image.open"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("PIL", "PIL.Image"):
            wanted = "Image" if node.module == "PIL" else "open"
            names |= {
                (alias.asname or alias.name) + (".open" if wanted == "Image" else "")
                for alias in node.names
                if alias.name == wanted
            }
        if isinstance(node, ast.Import):
            names |= {
                f"{alias.asname}.open" for alias in node.names if alias.name == "PIL.Image" and alias.asname
            }
    return any(
        ast.unparse(node) in names
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load)
    )


def modules() -> list[tuple[str, Path]]:
    """(dotted name, file) of all code that is shipped."""
    files = [ROOT / "app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))]
    return [
        (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file)
        for file in files
    ]


MODULES = modules()


def test_imports_follow_the_plan() -> None:
    wrong = [
        sentence
        for name, file in MODULES
        for sentence in bad_arrows(name, file.read_text(encoding="utf-8"), file.name == "__init__.py")
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = arrows_of(MODULES)
    # Else a walk that reads nothing would find nothing wrong.
    assert {"vit_demo.model.checkpoints", "vit_demo.common.errors"} <= arrows[
        "vit_demo.model.classifier"
    ] and sum(map(len, arrows.values())) > 500
    assert circles(arrows) == []
    assert (
        circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}}) == [["a", "b", "c"]]
        and circles({"a": {"b", "c"}, "b": {"c"}}) == []
    )


@pytest.mark.parametrize("plan", FLOORS)
def test_every_room_has_a_floor(plan: str) -> None:
    depth = plan.count(".") + 1
    rooms = {name.split(".")[depth] for name, _ in MODULES if name.startswith(f"{plan}.")}
    assert sorted(rooms) == sorted(FLOORS[plan].replace(">", " ").split())


def test_the_house_is_small_enough_to_be_known() -> None:
    assert len(FLOORS[PACKAGE].replace(">", " ").split()) <= 16 and FLOORS[PACKAGE].count(">") <= 7
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 40


def test_nothing_runs_foreign_code() -> None:
    benchmarks = [(file.stem, file) for file in sorted((ROOT / "benchmarks").rglob("*.py"))]
    assert [
        sentence
        for name, file in MODULES + benchmarks
        for sentence in unsafe(name, file.read_text(encoding="utf-8"))
    ] == []


def html_texts(source: str) -> list[str]:
    """The texts of a module that have HTML in them, its docstrings aside."""
    tree = ast.parse(source)
    documented = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    texts = {
        id(node.body[0].value) for node in documented if node.body and isinstance(node.body[0], ast.Expr)
    }
    constants = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    )
    return [
        node.value for node in constants if re.search(r"</(?!extra)[a-z]+[0-9]?>|<(img|input)\b", node.value)
    ]


def test_html_stands_in_templates():
    """There each value is escaped. What plotly takes (</extra>, <br>) is none."""
    assert html_texts('"""<b>documented</b>"""\nx = f"<p>{name}</p>"\ny = "1 < 2"') == ["</p>"]
    found = {name: html_texts(file.read_text(encoding="utf-8")) for name, file in MODULES}
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_pictures_are_opened_at_one_door() -> None:
    assert [name for name, file in MODULES if opens_pictures(file.read_text(encoding="utf-8"))] == [
        f"{PACKAGE}.photos.safe_open"
    ]
    for planted in (
        "from PIL import Image\nImage.open(path)",
        "import PIL.Image\nPIL.Image.open(path)",
        "from PIL import Image as P\nmap(P.open, paths)",
        "from PIL.Image import open as o\no(path)",
        "import PIL.Image as I\nI.open(path)",
    ):
        assert opens_pictures(planted), planted
    assert not opens_pictures("from PIL import Image\nopen(path)\nImage.new('RGB', (1, 1))")


def test_planted_bad_arrows_are_found() -> None:
    for module, source in (
        ("vit_demo.data.open.sources", "from vit_demo.training.run import runs"),
        ("vit_demo.data.open.sources", "from vit_demo.data.browse.catalogue import Catalogue"),
        ("vit_demo.data.names", "from .open import sources"),
        ("vit_demo.explain.attribution.maps", "from vit_demo.data.open.sources import open_dataset"),
        ("vit_demo.explain.internals.trace", "import vit_demo.explain.attribution.maps"),
        ("vit_demo.diagnose.photos", "from vit_demo import training"),
        ("vit_demo.training.run.runs", "from vit_demo.training.loop.steps import train"),
        ("vit_demo.training.loop.steps", "from vit_demo.ui.shared.components import bars"),
        ("vit_demo.model.classifier", "def later():\n    from vit_demo.data import names"),
        ("vit_demo.model.classifier", "if TYPE_CHECKING:\n    from vit_demo.explain import patches"),
        ("vit_demo.common.settings", "from ..model import checkpoints"),
        ("vit_demo.data.open.sources", "import importlib\nimportlib.import_module('vit_demo.ui.app')"),
        ("vit_demo.ui.app", "from vit_demo.cli.main import main"),
        ("vit_demo.ui.app", "import app"),
        ("vit_demo.ui.tabs.data.page", "from vit_demo.ui.tabs.inside import page"),
        ("vit_demo.training.result.card", "import gradio as gr"),
        ("vit_demo.explain.attribution.maps", "def draw():\n    import plotly.graph_objects as go"),
        ("vit_demo.figures.why", "import gradio as gr"),
        ("vit_demo.cli.main", "from vit_demo.ui.app import serve"),
        ("vit_demo.cli.explain", "def _serve():\n    from vit_demo.ui.app import serve"),
        ("app", "from vit_demo.training.run import runs"),
        ("app", "import gradio"),
        ("vit_demo", "from vit_demo.model.classifier import LeafClassifier"),
    ):
        assert len(bad_arrows(module, source)) == 1, (module, source)
    assert bad_arrows("vit_demo.data", "from ..training import photos", is_package=True)


def test_good_arrows_are_left_alone() -> None:
    for module, source in (
        ("vit_demo.training.photos", "from vit_demo.data.open.sources import open_dataset"),
        (
            "vit_demo.training.film.recorder",
            "from vit_demo.explain.attribution.rollout import attention_rollout",
        ),
        ("vit_demo.training.run.queue", "from . import runs"),
        ("vit_demo.cli.main", "def _serve():\n    from vit_demo.ui.app import serve"),
        ("vit_demo.cli.main", "from vit_demo import __version__\nfrom vit_demo.common import settings"),
        ("vit_demo.ui.app", "import gradio\nfrom vit_demo.diagnose import photos"),
        ("vit_demo.figures.why", "import plotly.graph_objects as go"),
        ("app", "from vit_demo.ui.app import serve\nfrom vit_demo.common.errors import UserError"),
    ):
        assert bad_arrows(module, source) == [], (module, source)
    assert not bad_arrows("vit_demo.data", "from .names import SPLITS", is_package=True)


def test_planted_dangers_are_found() -> None:
    for source in (
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
    ):
        assert len(unsafe("planted", source)) == 1, source
    assert (
        unsafe(
            "planted", '"""Never pickle, torch.load or shell=True."""\nopen_model(trust_remote_code=False)'
        )
        == []
    )


def test_the_picture_of_the_house_shows_it_as_it_is() -> None:
    from docs.house import FILE, draw

    assert FILE.read_text(encoding="utf-8") == draw(), "run python -m docs.house"


def test_what_the_documents_name_is_there() -> None:
    names = {name.removeprefix(f"{PACKAGE}.") for name, _ in MODULES}
    text = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "inside-a-vit.md")
    )
    for named in re.findall(
        r"`((?:data|training|model|photos|explain|export|diagnose|figures|ui|cli|common)\.(?!py`|csv`)[a-z_.]+)[`.(]",
        text,
    ):
        assert any(named == name or named.startswith(f"{name}.") for name in names if name.count(".")), named
    for file in re.findall(r"`(vit_demo/[a-z_/.]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert (ROOT / file).exists(), file
