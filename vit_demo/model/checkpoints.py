"""Which checkpoints can be opened, and how each becomes a folder on disk that is safe to load.

Every way in (the embedded model, a finished run, a local folder, the Hugging Face Hub) ends in
:func:`locate`, which returns a folder holding ``config.json``, the weights as safetensors and
``preprocessor_config.json``, or says in one sentence why it cannot. Nothing is ever unpickled and
no code from a checkpoint is run.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.common.words import Sentence

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Beside the weights: when the model should keep silent, see :mod:`vit_demo.model.abstention`.
ABSTENTION = "abstention.safetensors"
# Also: what to do about an answer, see :mod:`vit_demo.diagnose.notes`.
NOTES = "notes.json"
# What is known of an export, in its folder, which has no weights: see :mod:`vit_demo.export.onnx`.
EXPORT = "export.json"
EMBEDDED = "embedded"
# The model_type of a ViT with a CNN in front, as :mod:`vit_demo.model.hybrid` saves it.
HYBRID_TYPE = "vit_resnet_hybrid"

# The small ViT, before it saw a leaf, that the embedded model was made from.
PRETRAINED = "WinKawaks/vit-tiny-patch16-224"

# What a person may pick without typing: (name on the Hub, key of what it is).
HUB_MODELS = (
    ("google/vit-base-patch16-224-in21k", "page.model.base_21k"),
    ("google/vit-base-patch16-224", "page.model.base"),
    (PRETRAINED, "page.model.tiny"),
    ("facebook/dino-vits16", "page.model.dino"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint. model_type: in its config, by which it is told.

    opened_by: "module:name" of the class that reads it, a ViTForImageClassification with the same encoder;
    it is imported when it is needed. holds: (key in the config, model_type) of each model within.
    """

    model_type: str
    opened_by: str
    holds: tuple[tuple[str, str], ...] = ()

    def model_class(self) -> type[ViTForImageClassification]:
        """The class that reads it."""
        found: type[ViTForImageClassification] = resolve_name(self.opened_by)
        return found


# A new one is a class in a file of its own and one entry here.
KINDS = {
    kind.model_type: kind
    for kind in (
        Kind("vit", "transformers:ViTForImageClassification"),
        Kind(
            HYBRID_TYPE,
            "vit_demo.model.hybrid:HybridViTForImageClassification",
            holds=(("backbone_config", "resnet"),),
        ),
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looked at, but not yet loaded.

    folder: holds config, weights and processor. name: what a person calls it.
    revision: the Hub commit it was read from, or None for a local one.
    labels: class names in the order of the logits; empty where there is no trained head.
    kind: its model_type, one of KINDS or "resnet".
    """

    folder: Path
    name: str
    revision: str | None
    labels: tuple[str, ...]
    kind: str = "vit"

    @property
    def has_head(self) -> bool:
        """Whether it can already name classes."""
        return bool(self.labels)

    @property
    def is_hybrid(self) -> bool:
        """Whether it is a ViT with a CNN in front."""
        return self.kind == HYBRID_TYPE


@dataclass(frozen=True)
class _Wanted:
    """What is looked for. kinds: model_types. otherwise: key of the error for another kind."""

    kinds: Container[str]
    otherwise: str


_VIT = _Wanted(KINDS, "error.model.not_vit")
_RESNET = _Wanted(("resnet",), "error.model.not_resnet")


@dataclass(frozen=True)
class Choice:
    """One row of the list that a person picks a model from. on_hub: whether it has to be downloaded, and
    perhaps knows no classes yet.
    """

    spec: str
    called: Sentence
    on_hub: bool = False

    @property
    def title(self) -> str:
        """What it is called in the current language."""
        return str(self.called)


def list_choices() -> list[Choice]:
    """What can be opened by name: the embedded model, finished runs (newest first), the Hub's."""
    choices = [Choice(EMBEDDED, Sentence("page.model.embedded"))]
    runs = [path.parent.parent for path in settings.load().runs.glob(f"*/model/{CONFIG}")]
    for run in sorted(runs, key=lambda path: path.name, reverse=True):
        choices.append(Choice(str(run), Sentence("page.model.run", {"name": run.name})))
    choices += [
        Choice(name, Sentence("page.model.hub", {"name": name, "about": Sentence(about)}), on_hub=True)
        for name, about in HUB_MODELS
    ]
    return choices


def locate(spec: str | Path | None = None, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint and check that it is a complete ViT image model.

    spec: "embedded" or None, a run folder, a model folder, or a Hub name ("owner/model", also
    "owner/model@revision"). revision: branch, tag or commit on the Hub.
    Raises UserError where it is missing, broken, no ViT, or wants its own code to be run.
    """
    text = str(spec or "").strip() or EMBEDDED
    if text == EMBEDDED:
        return inspect(settings.EMBEDDED_MODEL, name=EMBEDDED)
    return _find(text, revision, _VIT)


def locate_resnet(spec: str | Path) -> Checkpoint:
    """Find a ResNet for the front of a hybrid; a spec, its checks and their errors as in :func:`locate`."""
    return _find(str(spec).strip(), None, _RESNET)


def locate_export(spec: str | Path | None) -> Checkpoint | None:
    """The export in this folder; None where there is none, or weights lie beside it. Raises UserError where
    its own files are missing or broken.
    """
    folder = existing_path(str(spec or "").strip() or EMBEDDED)
    if (
        folder is None
        or not (folder / EXPORT).is_file()
        or (folder / WEIGHTS).is_file()
        or (folder / INDEX).is_file()
    ):
        return None
    folder = folder.resolve()
    config = _read_json(folder / CONFIG, folder.name)
    _refuse_foreign(config, folder.name, _VIT)
    _read_json(folder / PROCESSOR, folder.name)
    return Checkpoint(folder, folder.name, None, _labels(config, folder.name), config["model_type"])


def _find(text: str, revision: str | None, wanted: _Wanted) -> Checkpoint:
    path = existing_path(text)
    if path and path.is_dir():
        # A run folder keeps its model one level down, beside its own settings.
        folder = path / "model" if (path / "model" / CONFIG).is_file() else path
        return inspect(folder.resolve(), path.resolve().name, wanted=wanted)
    if path:
        raise UserError("error.model.is_file", path=text, config=CONFIG, weights=WEIGHTS)
    name, _, named_revision = text.partition("@")
    if not is_hub_name(name):
        raise UserError("error.model.no_folder", path=text)
    return _from_hub(name, revision or named_revision or None, wanted)


def inspect(folder: Path, name: str, revision: str | None = None, wanted: _Wanted = _VIT) -> Checkpoint:
    """Check a local folder without loading the weights; see :func:`locate` for the errors."""
    config = _read_json(folder / CONFIG, name)
    _refuse_foreign(config, name, wanted)
    keys = _weight_keys(folder, name)
    if not (folder / PROCESSOR).is_file():
        raise UserError("error.model.no_processor", name=name, file=PROCESSOR)
    _read_json(folder / PROCESSOR, name)
    labels = _labels(config, name) if "classifier.weight" in keys else ()
    return Checkpoint(folder=folder, name=name, revision=revision, labels=labels, kind=config["model_type"])


def existing_path(text: str) -> Path | None:
    """The file or folder of this name; None also for text that no file system takes as a name."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a null character, the home of an unknown ~person
        return None


def is_hub_name(text: str) -> bool:
    """Whether this could be "owner/name" on the Hugging Face Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is documented there

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return text.count("/") == 1


def _refuse_foreign(config: dict[str, Any], name: str, wanted: _Wanted) -> None:
    kind = str(config.get("model_type") or "")
    holds = KINDS[kind].holds if kind in KINDS else ()
    held = [config[key] if isinstance(config.get(key), dict) else {} for key, _ in holds]
    if any(part.get("auto_map") for part in (config, *held)):
        raise UserError("error.model.own_code", name=name)
    if kind not in wanted.kinds:
        raise UserError(wanted.otherwise, name=name, kind=kind or Sentence("error.model.unknown_type"))
    if any(part.get("model_type") != wants for part, (_, wants) in zip(held, holds)):
        raise _broken(CONFIG, name)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("error.model.no_file", name=name, file=path.name) from None
    except (OSError, ValueError, RecursionError):  # the last: brackets nested thousands deep
        raise _broken(path.name, name) from None
    if not isinstance(content, dict):
        raise _broken(path.name, name)
    return content


def _broken(file: str, name: str) -> UserError:
    return UserError("error.model.broken", file=file, name=name)


def incomplete(name: str, count: int) -> UserError:
    """The error for a model that lacks ``count`` of its weights, or has them in another size."""
    return UserError("error.model.incomplete", name=name, count=count)


def _labels(config: dict[str, Any], name: str) -> tuple[str, ...]:
    try:
        names = {int(index): str(label) for index, label in (config.get("id2label") or {}).items()}
    except (AttributeError, ValueError):
        raise _broken(CONFIG, name) from None
    if sorted(names) != list(range(len(names))):
        raise _broken(CONFIG, name)
    return tuple(names[index] for index in sorted(names)) or ("LABEL_0", "LABEL_1")


def _weight_files(folder: Path, name: str) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        weight_map = _read_json(folder / INDEX, name).get("weight_map")
        shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        # A shard is a plain file name: anything else would read outside the folder.
        if shards and all(Path(shard).name == shard and shard.endswith(".safetensors") for shard in shards):
            return [folder / shard for shard in sorted(shards)]
        raise _broken(INDEX, name)
    if (folder / EXPORT).is_file():
        raise UserError("error.model.is_export", name=name)
    raise UserError("error.model.no_weights", name=name, file=WEIGHTS)


def _weight_keys(folder: Path, name: str) -> set[str]:
    keys: set[str] = set()
    for file in _weight_files(folder, name):
        try:
            with safe_open(file, framework="numpy") as tensors:
                keys.update(tensors.keys())
        except FileNotFoundError:
            raise UserError("error.model.no_weight_file", name=name, file=file.name) from None
        except (SafetensorError, OSError):
            raise _broken(file.name, name) from None
    return keys


def _from_hub(name: str, revision: str | None, wanted: _Wanted) -> Checkpoint:
    """Download the few files a model needs, the small config first so that a wrong model costs little."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # its HTTPError is of another library
        EntryNotFoundError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        config_file = Path(hf_hub_download(name, CONFIG, revision=revision))
        _refuse_foreign(_read_json(config_file, name), name, wanted)
        files = [CONFIG, PROCESSOR, WEIGHTS, INDEX, "model-*.safetensors", ABSTENTION]
        # The commit that the config came from, so that a branch that moves meanwhile cannot mix two models.
        commit = config_file.parent.name
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=files))
        if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
            # The conversion is made from main: for another revision it would be another model than asked for.
            commit = (_safetensors_variant(name) if revision in (None, "main") else None) or commit
            folder = Path(snapshot_download(name, revision=commit, allow_patterns=files))
            commit = folder.name
    except RevisionNotFoundError:
        raise UserError("error.model.no_revision", name=name, revision=revision) from None
    except RepositoryNotFoundError:
        raise UserError("error.model.not_on_hub", name=name) from None
    # Before EntryNotFoundError, of which it is a kind: here the file is only not cached.
    except LocalEntryNotFoundError:
        raise UserError("error.model.offline", name=name) from None
    except EntryNotFoundError:
        raise UserError("error.model.no_transformers", name=name, file=CONFIG) from None
    # HTTPError: the connection broke while the Hub was answering, which is no OSError.
    except (OSError, HTTPError, HFValidationError) as error:
        raise UserError("error.model.download", name=name, error=type(error).__name__) from None
    return inspect(folder, name, commit, wanted)


def _safetensors_variant(name: str) -> str | None:
    """The revision of the Hub's own conversion to safetensors, for models published before that format."""
    from huggingface_hub import get_repo_discussions

    for discussion in get_repo_discussions(name, author="SFconvertbot", discussion_type="pull_request"):
        if "safetensors" in discussion.title and discussion.git_reference:
            return discussion.git_reference
    return None
