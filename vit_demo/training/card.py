"""What is kept beside a finished model: its scores and its model card."""

from __future__ import annotations

import json

from vit_demo import __version__
from vit_demo.checkpoints import Checkpoint
from vit_demo.training.config import TrainingConfig
from vit_demo.training.evaluation import Evaluation


def scores_json(scores: dict[str, dict], seconds: float) -> str:
    """The scores of each split and the time of the whole run in seconds."""
    return json.dumps({**scores, "seconds": seconds}, indent=1)


def percent(evaluation: Evaluation) -> str:
    """Accuracy with its interval, as people read it."""
    low, high = evaluation.interval
    return f"{evaluation.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, {evaluation.n} photos)"


def model_card(config: TrainingConfig, origin: Checkpoint, scores: dict[str, Evaluation], result: dict) -> str:
    """The README.md of a model folder, in the Hub's format."""
    test = scores["test"]
    revision = f", revision `{origin.revision}`" if origin.revision else ""
    extra = f"\n- Extra train photos: `{config.extra_data}` (train split only)" if config.extra_data else ""
    cells = [label.replace("|", "\\|") for label in test.labels]  # a bare one would end the cell
    rows = "\n".join(f"| {cell} | {' | '.join(map(str, row))} |" for cell, row in zip(cells, test.confusion))
    return f"""---
library_name: transformers
pipeline_tag: image-classification
tags: [vision-transformer, leaf-disease, vit_demo]
---

# A ViT that tells {", ".join(test.labels)} apart

Fine-tuned with vit_demo {__version__} in {result["seconds"]:.0f} s.

- Test accuracy: **{percent(test)}**
- Validation accuracy: {percent(scores["validation"])}; the weights were chosen on this split, so it is too kind
- Started from: `{origin.name}`{revision}
- Photos: `{config.data}`{extra}

Test photos (rows: what it is, columns: what the model says):

| | {" | ".join(cells)} |
|---|{"---|" * len(test.labels)}
{rows}

It only knows these classes: shown anything else it still names one of them.

## How to make it again

```
{config.command()}
```

```json
{config.to_json()}
```
"""
