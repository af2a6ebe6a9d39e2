"""Who computes the forward of a diagnosis: torch, or an exported model in onnxruntime.

All engines give the same two answers as :class:`vit_demo.model.classifier.LeafClassifier`, which is one
itself: the probabilities, or the logits with the features that ``abstention`` judges. The class and
:func:`engine_of` decide only how fast they come.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from vit_demo.common.errors import UserError
from vit_demo.model import cpu_engine
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Pool, Readout

ENGINES = ("torch", "onnx", "onnx-int8")
# The file of an export that each engine reads.
FILES = {"onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}
# What an exported model calls the features of its readout.
OUTPUTS = {Pool.CLS: "cls_token", Pool.PATCH_MEAN: "patch_mean"}


class Engine(Protocol):
    """Gives the answers for uint8 photos (B, 3, H, W) from
    :meth:`vit_demo.model.classifier.LeafClassifier.resize`.
    """

    def probabilities(self, photos: Tensor) -> Tensor:
        """Softmax of the logits, float32 (B, C)."""

    def logits_and_features(self, photos: Tensor, readout: Readout) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the features of a readout (B, hidden size), both float32 on the CPU."""


class OnnxEngine:
    """An exported model in onnxruntime, on the CPU; threads may share it.

    file: as :mod:`vit_demo.export.onnx` wrote it. readout: whose features it gives. classifier:
    only prepares the photos. Raises UserError where onnxruntime is not installed or the file cannot be read.
    """

    def __init__(self, file: Path, readout: Readout, classifier: LeafClassifier):
        self._readout, self._classifier, self._file = readout, classifier, file
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Threads that wait would otherwise spin, and take the cores from the decoding of the next photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen of its own, none with a common base
            raise self._unfit(type(error).__name__) from None

    def probabilities(self, photos: Tensor) -> Tensor:
        return self._run(photos)[0].softmax(dim=-1)

    def logits_and_features(self, photos: Tensor, readout: Readout) -> tuple[Tensor, Tensor]:
        if readout != self._readout:
            raise UserError("error.model.export_calibration")
        return self._run(photos)

    def _run(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        pixel_values = self._classifier.normalise(photos).cpu().numpy()
        wanted = ["logits", OUTPUTS[self._readout.pool]]
        try:
            logits, features = self._session.run(wanted, {"pixel_values": pixel_values})
        except Exception as error:  # as above
            raise self._unfit(type(error).__name__) from None
        count, width = len(photos), self._classifier.model.config.hidden_size
        if logits.shape != (count, len(self._classifier.labels)) or features.shape != (count, width):
            raise self._unfit("shape")
        return torch.from_numpy(logits), torch.from_numpy(features)

    def _unfit(self, why: str) -> UserError:
        return UserError("error.model.export_unreadable", file=str(self._file), error=why)


def onnxruntime() -> ModuleType:
    """The module, or UserError with what to do where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError("error.model.no_onnxruntime") from None
    module: ModuleType = onnxruntime
    return module


def engine_of(classifier: LeafClassifier) -> Engine:
    """The fastest torch engine for this model where it is: the packed one, or the classifier itself."""
    return cpu_engine.engine_of(classifier) or classifier
