"""A model away from this program: as ONNX in fp32 and in int8, with all that is needed to ask it.

An export is a folder with ``model.onnx``, ``model-int8.onnx`` (weights of the products quantised by channel,
activations as they come: "dynamic"), the processor's numbers, the labels, when to be silent, the notes, and a
README that tells how to use them with onnxruntime alone. Both models take ``pixel_values`` and give
``logits`` and the features that ``abstention`` judges.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import shutil
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vit_demo.common import settings
from vit_demo.common.errors import UserError
from vit_demo.export.exported import ExportedClassifier
from vit_demo.model.abstention import abstention_of
from vit_demo.model.checkpoints import ABSTENTION, EXPORT, locate_export
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Pool, Readout, readout_of
from vit_demo.model.runtimes import FILES, OUTPUTS, Engine, OnnxEngine, engine_of, onnxruntime

# By this file a folder is known to be an export.
ABOUT = EXPORT
FORMAT = "vit_demo export 1"
# Beside a model, the folder of its export.
FOLDER = "onnx"
# The most that a logit of the fp32 model may differ from torch's.
TOLERANCE = 1e-4
# How the products after an activation are called in the exported graph.
AFTER_ACTIVATION = "/mlp/fc2/MatMul"
OPSET = 18
README = Path(__file__).with_name("export_readme.md")
# What is known of an engine that was not scored.
NOT_SCORED = {"accuracy": None, "interval": None, "n": 0, "broken": 0, "agreement": None}


@dataclass(frozen=True)
class About:
    """What is known of an export.

    weights: stand for the weights it was made from. layer, pool: of the readout whose features it gives.
    difference,
    difference_int8: the largest one of a logit from torch's in fp32, over the photos it was checked with.
    bytes: of each model file, by engine.
    """

    weights: str
    layer: int
    difference: float
    difference_int8: float
    bytes: dict[str, int]
    format: str = FORMAT
    pool: Pool = Pool.CLS

    @property
    def readout(self) -> Readout:
        return Readout(self.layer, Pool(self.pool))


class _Answers(nn.Module):
    """Pixels (B, 3, H, W) to logits (B, C) and the features of a readout (B, D)."""

    def __init__(self, classifier: LeafClassifier, readout: Readout):
        super().__init__()
        self.model, self.readout = classifier.model, readout

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        vit = self.model.vit
        tokens = vit.embeddings(pixel_values)
        features = tokens[:, 0]
        for number, block in enumerate(vit.layers, start=1):
            tokens = block(tokens)
            if number == self.readout.layer:
                features = self.readout.of(tokens)
        return self.model.classifier(vit.layernorm(tokens)[:, 0]), features


def export(classifier: LeafClassifier, folder: Path) -> About:
    """Write an export into ``folder``, which is new, empty or an earlier export; a failed one leaves nothing
    and what was there.

    Raises UserError where it may not be written, or where the model cannot be exported or gives other logits
    than in torch.
    """
    onnxruntime()
    if folder.exists() and not (
        folder.is_dir() and ((folder / ABOUT).is_file() or not any(folder.iterdir()))
    ):
        raise UserError("error.export.other_folder", folder=str(folder))
    fresh = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        fresh.chmod(0o755)
        about = _write(_on_cpu(classifier), fresh)
        _take_the_place(fresh, folder)
    except OSError as error:
        raise UserError("error.export.unwritable", folder=str(folder), error=error.strerror) from None
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
    return about


def _on_cpu(classifier: LeafClassifier) -> LeafClassifier:
    """Itself or a copy there, since GPUs round convolutions more than an export may differ."""
    if classifier.device.type == "cpu":
        return classifier
    return LeafClassifier(copy.deepcopy(classifier.model).cpu(), classifier.processor, classifier.checkpoint)


def _write(classifier: LeafClassifier, folder: Path) -> About:
    readout = _readout(classifier)
    files = {engine: folder / name for engine, name in FILES.items()}
    _trace(classifier, readout, files["onnx"])
    _quantise(files["onnx"], files["onnx-int8"])
    photos = _noise(classifier, 5)
    with torch.inference_mode():
        wanted = classifier.forward(classifier.normalise(photos)).float().cpu()
    difference, difference_int8 = (
        float(
            (OnnxEngine(file, readout, classifier).logits_and_features(photos, readout)[0] - wanted)
            .abs()
            .max()
        )
        for file in files.values()
    )
    if not difference <= TOLERANCE:
        raise UserError("error.export.differs", difference=difference)
    about = About(
        fingerprint(classifier),
        readout.layer,
        difference,
        difference_int8,
        {engine: file.stat().st_size for engine, file in files.items()},
        pool=readout.pool,
    )
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
    classifier.processor.save_pretrained(folder)
    classifier.model.config.to_json_file(folder / "config.json")
    for name in (ABSTENTION, "notes.json"):
        if (classifier.checkpoint.folder / name).is_file():
            shutil.copyfile(classifier.checkpoint.folder / name, folder / name)
    (folder / "README.md").write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    return about


def _trace(classifier: LeafClassifier, readout: Readout, file: Path) -> None:
    """Write the fp32 model, for any number of photos; the exporter follows a forward of two."""
    two = classifier.normalise(_noise(classifier, 2))
    names = ["logits", OUTPUTS[readout.pool]]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # That this exporter is the older one, and that sizes in the model's own checks become fixed,
            # which they are.
            warnings.simplefilter("ignore")
            # The newer one needs another package and takes ten times as long, for the same graph.
            torch.onnx.export(
                _Answers(classifier, readout).eval(),
                (two,),
                str(file),
                input_names=["pixel_values"],
                output_names=names,
                opset_version=OPSET,
                dynamic_axes={name: {0: "photos"} for name in ("pixel_values", *names)},
                dynamo=False,
                external_data=False,
            )
    except ImportError:
        raise UserError("error.export.no_onnx") from None
    except OSError:
        raise
    except Exception as error:  # the exporter has its own for each thing it does not know
        raise UserError(
            "error.export.unknown_part", name=classifier.checkpoint.name, error=type(error).__name__
        ) from error


def _quantise(file: Path, quantised: Path) -> None:
    """Int8 weights, one scale a channel, in the products with weights; all else, convolutions too, stays in
    fp32.

    So do the products after each activation: its few large values would leave one scale for all photos and
    tokens too coarse, which costs no class but moves the features, so that every photo would be called not
    known.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    coarse = [node.name for node in onnx.load(str(file)).graph.node if node.name.endswith(AFTER_ACTIVATION)]
    with _quiet_root():
        quantize_dynamic(
            str(file),
            str(quantised),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=coarse,
        )


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """Without the advice to prepare the model, which onnxruntime logs for all; what it would do has no effect
    here.
    """
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _noise(classifier: LeafClassifier, count: int) -> Tensor:
    """Photos that no model has learned, uint8 (B, 3, H, W)."""
    return torch.randint(
        0,
        256,
        (count, 3, *classifier.image_size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )


def _take_the_place(fresh: Path, folder: Path) -> None:
    """Rename; an earlier export goes only when the new one is whole."""
    if not folder.exists():
        fresh.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        folder.rename(aside / folder.name)
        try:
            fresh.rename(folder)
        except OSError:
            (aside / folder.name).rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def fingerprint(classifier: LeafClassifier) -> str:
    """Changes with any weight."""
    digest = hashlib.sha256()
    for name, tensor in classifier.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def read_about(folder: Path) -> About | None:
    """What is known of the export in this folder; None where there is none that this version can read."""
    try:
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        return about if type(about.layer) is int and about.readout.layer >= 1 else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _about(folder: Path) -> About:
    """What is known of an export that this version has made."""
    return cast("About", read_about(folder))


def open_engine(classifier: LeafClassifier, name: str) -> Engine:
    """One of ``runtimes.ENGINES`` for this model.

    For the others than torch the export beside the model is used (folder ``onnx``), else one that is made
    once and kept under ``settings.home``; either only if it was made from these weights.
    """
    if isinstance(classifier, ExportedClassifier):
        return classifier
    if name not in FILES:
        return engine_of(classifier)
    folder = folder_of_export(classifier)
    return OnnxEngine(folder / FILES[name], _about(folder).readout, classifier)


def exported(classifier: LeafClassifier, name: str) -> ExportedClassifier:
    """What :func:`open_engine` opens, as a model in place of this one. name: onnx or onnx-int8."""
    return (
        classifier
        if isinstance(classifier, ExportedClassifier)
        else open_export(folder_of_export(classifier), name)
    )


def open_export(folder: Path, name: str) -> ExportedClassifier:
    """The export of a folder by itself. name: one of ``runtimes.ENGINES``. Raises UserError for torch, and
    where the export is not whole.
    """
    if name not in FILES:
        raise UserError("error.export.torch", folder=str(folder))
    found, about = locate_export(folder), read_about(folder)
    if found is None or about is None or about.format != FORMAT:
        raise UserError("error.export.version", folder=str(folder))
    opened = ExportedClassifier(found, found.folder / FILES[name], about.readout)
    if about.layer > opened.blocks:
        raise UserError("error.export.version", folder=str(folder))
    return opened


def folder_of_export(classifier: LeafClassifier) -> Path:
    """Where the export of these very weights is; made if there is none."""
    weights = fingerprint(classifier)
    kept = settings.load().home / "exports" / weights
    for folder in (classifier.checkpoint.folder / FOLDER, kept):
        about = read_about(folder)
        if (
            about
            and about.format == FORMAT
            and about.weights == weights
            and about.readout == _readout(classifier)
        ):
            return folder
    export(classifier, kept)
    return kept


def pack(folder: Path, file: Path) -> None:
    """Write all files of an export into a zip file, in a folder of its name. Raises UserError where there is
    no room.
    """
    try:
        # Not squeezed: weights hardly become smaller by it, and it takes long.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for part in sorted(folder.iterdir()):
                packed.write(part, f"{file.stem}/{part.name}")
    except OSError as error:
        file.unlink(missing_ok=True)
        raise UserError("error.export.zip", error=error.strerror) from None


def _readout(classifier: LeafClassifier) -> Readout:
    fitted = abstention_of(classifier)
    return fitted.readout if fitted else readout_of(classifier.blocks)


def engines_of_export(classifier: LeafClassifier, folder: Path) -> dict[str, Engine]:
    """All engines by name, those of an export from its folder."""
    return {"torch": engine_of(classifier), **{name: open_export(folder, name) for name in FILES}}


def compare(
    classifier: LeafClassifier, folder: Path, score: Callable[[LeafClassifier, str, Readout], Any] | None
) -> dict[str, dict[str, Any]]:
    """What each engine costs and reaches, by name: bytes of the model's file, ms (median of a photo's
    forward), accuracy (of n photos, with its 95 % interval; broken could not be read) and agreement, the
    share of photos for which it says the same class as torch.

    score: gives ``training.result.evaluation.Evaluation`` of test photos for a model, the engine's name and
    the readout whose features are exported; None where there are no photos to score on: then accuracy,
    interval and agreement are None.
    """
    readout = _about(folder).readout
    rows: dict[str, dict[str, Any]] = {}
    said: dict[str, np.ndarray] = {}
    for name, engine in engines_of_export(classifier, folder).items():
        weights = (
            [folder / FILES[name]]
            if name in FILES
            else classifier.checkpoint.folder.glob("model*.safetensors")
        )
        rows[name] = {
            "bytes": sum(file.stat().st_size for file in weights),
            "ms": milliseconds(engine, classifier),
            **NOT_SCORED,
        }
        if score is None:
            continue
        # All but torch's are models too.
        found = score(cast("ExportedClassifier", engine) if name in FILES else classifier, name, readout)
        said[name] = found.logits.argmax(axis=1)
        rows[name] |= {
            "accuracy": found.accuracy,
            "interval": list(found.interval),
            "n": found.n,
            "broken": found.broken,
            "agreement": float((said[name] == said["torch"]).mean()),
        }
    return rows


def milliseconds(engine: Engine, classifier: LeafClassifier, rounds: int = 15) -> float:
    """Median time of the forward of one photo; the first three, in which memory is got, do not count."""
    photo, readout = _noise(classifier, 1), _readout(classifier)
    taken = []
    for _ in range(rounds + 3):
        began = time.perf_counter()
        engine.logits_and_features(photo, readout)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken[3:]))
