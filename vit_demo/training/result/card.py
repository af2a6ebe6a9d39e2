"""What is kept beside a finished model: its scores and its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vit_demo import __version__
from vit_demo.data.names import BEANS, HUB_BEANS, MENDED
from vit_demo.model.abstention import FEWEST, Abstention
from vit_demo.model.checkpoints import Checkpoint
from vit_demo.model.readout import Pool
from vit_demo.training.result.abstain import tally
from vit_demo.training.result.calibration import BINS
from vit_demo.training.result.evaluation import Evaluation
from vit_demo.training.result.predictions import FILE, Prediction, mistakes
from vit_demo.training.run.config import TrainingConfig

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LOOKED_AT = "The test photos were looked at only after the model was saved."
NOT_MEASURED = "Not measured: there was no test photo that could be read."
# So many of the worst mistakes are named.
NAMED = 10
_READ = {Pool.CLS: "the [CLS] token", Pool.PATCH_MEAN: "the mean of the patch tokens"}


def scores_json(
    scores: Mapping[str, dict[str, Any] | None], temperature: float, result: dict[str, Any]
) -> str:
    """The scores of each split, null where they could not be measured, the temperature fitted on validation,
    and of the result the time of the whole run in seconds, the photos' fingerprint and what was said of them.
    """
    return json.dumps(
        {
            **scores,
            "temperature": temperature,
            "seconds": result["seconds"],
            "data_fingerprint": result.get("data_fingerprint"),
            "data_notes": result.get("data_notes", []),
        },
        indent=1,
    )


def percent(evaluation: Evaluation | None) -> str:
    """Accuracy with its interval, as people read it."""
    if evaluation is None:
        return "not measured"
    low, high = evaluation.interval
    return f"{evaluation.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, {evaluation.n} photos)"


def model_card(
    config: TrainingConfig,
    origin: Checkpoint,
    scores: Mapping[str, Evaluation | None],
    result: dict[str, Any],
    abstention: Abstention,
) -> str:
    """The README.md of a model folder, in the Hub's format. scores: of validation and test; test is None
    where it could not be measured.
    """
    test, validation = scores["test"], cast("Evaluation", scores["validation"])
    revision = f", revision `{origin.revision}`" if origin.revision else ""
    extra = f"\n- Extra train photos: `{config.extra_data}` (train split only)" if config.extra_data else ""
    fingerprint = result.get("data_fingerprint")
    mark = f"\n- Fingerprint of all photos, labels and splits: `{fingerprint}`" if fingerprint else ""
    return f"""---
{_metadata(config, origin, test)}
---

# A ViT that tells {", ".join(_plain(label) for label in validation.labels)} apart

Test accuracy: **{percent(test)}**

Fine-tuned with vit_demo {__version__} in {result["seconds"]:.0f} s.
{LOOKED_AT if test else NOT_MEASURED}

- Validation accuracy: {percent(validation)}; the weights were chosen on this split, so it is too kind
- Started from: `{origin.name}`{revision}
- Photos: `{config.data}`{extra}{mark}
{_about_photos(result.get("data_notes", []))}
## Each class

{_each_class(test) if test else NOT_MEASURED}

## How sure it is

{_calibration(test, validation)}

## Its worst mistakes

{_worst(test) if test else NOT_MEASURED}

It only knows these classes: without the next section it would name one of them for any picture.

## When it keeps silent

{_silence(abstention, scores)}

## How to make it again

```
{config.command()}
```

```json
{config.to_json()}
```
"""


def _about_photos(notes: Sequence[str]) -> str:
    """What a person should know of the photos that it learned from; nothing where that is nothing."""
    if not notes:
        return ""
    return "\n## About its photos\n\n" + "".join(f"- {_plain(note)}\n" for note in notes)


def _each_class(test: Evaluation) -> str:
    return f"""Of the test photos. Precision: of the photos called this class, those that are.
Recall: of the photos of this class, those that were called so.

{_class_table(test)}

Rows: what it is, columns: what the model says.

{_confusion_table(test)}"""


def _metadata(config: TrainingConfig, origin: Checkpoint, test: Evaluation | None) -> str:
    """The front matter, by the Hub's own writer, so that any name stays valid YAML."""
    from huggingface_hub import ModelCardData

    from vit_demo.model.checkpoints import is_hub_name

    source = config.data.removeprefix(MENDED).partition("@")[0]
    source = HUB_BEANS if source == BEANS else source
    on_hub = is_hub_name(source) and not Path(source).exists()
    title = _last(source)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["vision-transformer", "leaf-disease", "vit_demo"],
        datasets=[source] if on_hub else None,
        model_name=f"{_last(origin.name)} fine-tuned on {title}",
        eval_results=[_test_result(config, source if on_hub else "", title, test)] if test else None,
    )
    return data.to_yaml().strip()


def _test_result(config: TrainingConfig, hub_name: str, title: str, test: Evaluation) -> EvalResult:
    """The test accuracy as the Hub lists it. hub_name: of the data set; "" where it is none of the Hub."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="image-classification",
        dataset_type=hub_name or "imagefolder",
        dataset_name=title,
        dataset_split="test",
        dataset_revision=config.data_revision,
        metric_type="accuracy",
        metric_value=round(test.accuracy, 6),
        metric_name="Test accuracy",
    )


def _last(place: str) -> str:
    """The last part of a folder or a name on the Hub."""
    return place.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _plain(text: str) -> str:
    """A name in running text or in a cell, where a bar or a new line would end it and a tag would be
    obeyed.
    """
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(header: list[str], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _class_table(test: Evaluation) -> str:
    rows = []
    for found in test.classes:
        interval = (
            f"{found.recall_interval[0]:.1%} to {found.recall_interval[1]:.1%}"
            if found.recall_interval
            else "no photo"
        )
        rows.append(
            [
                _plain(found.label),
                _share(found.precision),
                _share(found.recall),
                interval,
                _share(found.f1),
                found.support,
            ]
        )
    return _table(["Class", "Precision", "Recall", "95 % interval of recall", "F1", "Photos"], rows)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _confusion_table(test: Evaluation) -> str:
    cells = [_plain(label) for label in test.labels]
    return _table(["", *cells], [[cell, *row] for cell, row in zip(cells, test.confusion)])


def _calibration(test: Evaluation | None, validation: Evaluation) -> str:
    """Both errors and the temperature, and on which photos each was found."""
    table = _calibration_table(test or validation, "test" if test else "validation")
    kept = (
        " Every validation photo was right, so there was nothing to fit and it stays at 1."
        if validation.accuracy == 1 and validation.temperature == 1
        else ""
    )
    return (
        f"{table}\n\nThe expected calibration error is how far the probability of the named class and the"
        f" share of right answers lie apart, on average over {BINS} bins (Guo et al. 2017). The temperature"
        f" was fitted on the {validation.n} validation photos and on changed copies of them.{kept} It is"
        " written down in `scores.json`; the weights are as trained."
    )


def _calibration_table(scored: Evaluation, split: str) -> str:
    found, calibrated = scored.calibration, scored.calibrated
    rows = [["as it is", 1, _points(found.expected_calibration_error), f"{found.loss:.4f}"]]
    if calibrated:
        error = _points(calibrated.expected_calibration_error)
        rows.append(
            ["divided by the temperature", f"{scored.temperature:.3f}", error, f"{calibrated.loss:.4f}"]
        )
    head = ["Logits", "Temperature", f"Expected calibration error on {split}", f"Loss on {split} (nats)"]
    return _table(head, rows)


def _silence(abstention: Abstention, scores: Mapping[str, Evaluation | None]) -> str:
    """How often it answers, and by which rule."""
    rows = []
    for split in ("test", "validation"):
        scored = scores[split]
        if scored is None:
            rows.append([split, 0, *["not measured"] * 4])
            continue
        found = tally(abstention, scored)
        rows.append([split, found.n, found.diagnosis, _share(found.accuracy), found.unsure, found.not_known])
    table = _table(["Photos of", "Number", "Diagnosis", "Right of these", "Unsure", "Not known"], rows)
    if abstention.conformal_threshold is None:
        return (
            f"{table}\n\nUnsure: one class alone has less than 95 % of the probability. At least {FEWEST}"
            " validation photos are needed for more."
        )
    unsure = (
        f"Unsure: not exactly one class has a probability of {abstention.conformal_threshold:.1%} or more;"
        " the sets of classes that do hold the true class of 95 % of the validation photos and their copies"
        " (split conformal prediction)."
    )
    if abstention.detector is None:
        return (
            f"{table}\n\n{unsure} Which photos it does not know cannot be told: there were too few train"
            " photos."
        )
    return (
        f"{table}\n\n{unsure} Not known: {_READ[abstention.readout.pool]} after block"
        f" {abstention.readout.layer} lies farther from every class of the train photos than 95 % of such"
        " photos do (Mahalanobis distance). Both limits were set on the validation photos and on copies of"
        " them with slightly other colours, sharpness and compression, as another camera might have taken"
        " them, so their row is too kind; no other photos were used."
    )


def _points(error: float) -> str:
    return f"{error * 100:.1f} points"


def _worst(test: Evaluation) -> str:
    wrong = mistakes(test.predictions)
    if not wrong:
        return f"None on the {test.n} test photos."
    count = (
        f"{len(wrong)} of {test.n} test photos are wrong"
        if len(wrong) > 1
        else f"1 of {test.n} test photos is wrong"
    )
    rows = [
        [_code(found), _plain(found.true), _plain(found.said), f"{found.probability:.1%}"]
        for found in wrong[:NAMED]
    ]
    table = _table(["Photo", "It is", "The model says", "Its probability"], rows)
    return f"{count}, the ones that the model was surest of first. All photos stand in `{FILE}`.\n\n{table}"


def _code(found: Prediction) -> str:
    """The path as code, in which a back-tick would end it."""
    return f"`{_plain(found.path).replace('`', '')}`"
