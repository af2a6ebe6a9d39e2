"""An export as a model: labels, processor and shape from its own folder, answers from onnxruntime, no weights
in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import ViTImageProcessorPil

from vit_demo.common.errors import UserError
from vit_demo.model.checkpoints import KINDS, Checkpoint
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.model.runtimes import OnnxEngine


class ExportedClassifier(LeafClassifier):
    """Prepares photos as any other and gives the answers of an exported model; it is an engine too, see
    :mod:`vit_demo.model.runtimes`.

    ``model`` has the shape alone (on torch's meta device): nothing that needs weights can be asked of it.
    checkpoint: the folder of the export, as ``checkpoints.locate_export`` found it. file: the model in it.
    readout: whose features it gives. Raises UserError where the files do not fit together, or onnxruntime is
    not installed.
    """

    def __init__(self, checkpoint: Checkpoint, file: Path, readout: Readout):
        kind: Any = KINDS[checkpoint.kind].model_class()
        try:
            with torch.device("meta"):
                model = kind(kind.config_class.from_pretrained(checkpoint.folder, local_files_only=True))
            processor = ViTImageProcessorPil.from_pretrained(checkpoint.folder, local_files_only=True)
        except Exception as error:  # as in vit: a config made by others can trip transformers anywhere
            raise UserError("error.export.files", name=checkpoint.name, error=type(error).__name__) from error
        super().__init__(model, processor, checkpoint)
        self._try_processor()
        self.readout, self._engine = readout, OnnxEngine(file, readout, self)

    @property
    def device(self) -> torch.device:
        """Where photos are prepared and asked."""
        return torch.device("cpu")

    def logits(self, photos: Sequence[Image.Image] | Tensor, batch_size: int = 16) -> Tensor:
        return self.logits_and_features(photos, self.readout, batch_size)[0]

    def logits_and_features(
        self, photos: Sequence[Image.Image] | Tensor, readout: Readout, batch_size: int = 16
    ) -> tuple[Tensor, Tensor]:
        """As of any other, of the one readout that was exported."""
        if not isinstance(photos, Tensor):
            photos = self.resize(photos)
        logits, tokens = zip(
            *(self._engine.logits_and_features(batch, readout) for batch in torch.split(photos, batch_size))
        )
        return torch.cat(logits), torch.cat(tokens)
