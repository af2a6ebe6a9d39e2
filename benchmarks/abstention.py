"""When the embedded model answers and when it is silent, on real bean leaves and on photos of other things.

    python -m benchmarks.abstention --other FOLDER [--layers]

Of the test split: right when made to answer, right among those answered with a diagnosis, answered, not
called not known, and the expected calibration error (15 bins); of each folder of other photos, the share that
gets "unsure" or "not known". With 95 % Wilson intervals, against the limits that were set beforehand; these
decide the exit status. The other photos were used for no fit and no limit. They were looked at when the way
of measuring was chosen: --layers prints that comparison, the Mahalanobis distance and the 5th nearest
neighbour on [CLS] after every block, and the energy of the logits, all fitted on the train photos with the
limit on the validation photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from scipy.special import logsumexp
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors

from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.photos import open_photo
from vit_demo.explain.internals.trace import capture_hidden
from vit_demo.model.abstention import COVERAGE, Answers, abstention_of, fit
from vit_demo.model.classifier import LeafClassifier
from vit_demo.model.readout import Readout
from vit_demo.training.photos import batches
from vit_demo.training.result.abstain import tally
from vit_demo.training.result.calibration import BINS
from vit_demo.training.result.evaluation import evaluate

# Folder of other photos: the least share that must not get a diagnosis.
SILENT = {"citrus_fruit": 0.99, "weeds_field": 0.99, "chilli_leaf": 0.95, "blackgram_leaf": 0.75}
FORCED, RIGHT, ANSWERED, KNOWN, MOST_ERROR = 0.96, 0.985, 0.90, 0.93, 0.03
NEIGHBOURS = 5
BATCH = 32


class Report:
    """Prints one line a claim and remembers whether all hold."""

    passed = True

    def share(self, name: str, count: int, n: int, least: float) -> None:
        interval = binomtest(count, n).proportion_ci(method="wilson")
        self._line(
            f"{name:58} {count / n:7.1%}  ({interval.low:.1%} to {interval.high:.1%}, {count} of {n})  at"
            f" least {least:.1%}",
            count / n >= least,
        )

    def at_most(self, name: str, value: float, most: float) -> None:
        self._line(f"{name:58} {value:7.4f}  at most {most:g}", value <= most)

    def _line(self, text: str, holds: bool) -> None:
        self.passed &= holds
        print(f"{text}: {'yes' if holds else 'NO'}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="beans", help="what `--data` of the commands takes (default: %(default)s)"
    )
    parser.add_argument(
        "--other", required=True, type=Path, help="folder with one folder a kind of other photos"
    )
    parser.add_argument("--model", default="embedded", help="model folder or name (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--layers", action="store_true", help="compare every layer and two other measures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier, data = LeafClassifier.open(options.model, device="cpu"), open_dataset(options.data)
    if options.layers:
        compare(classifier, data, options.other)
        return 0
    report = Report()
    measure(classifier, data["test"], options.other, report)
    print("All hold." if report.passed else "Not all hold.")
    return 0 if report.passed else 1


def measure(classifier: LeafClassifier, test: Dataset, other: Path, report: Report) -> None:
    """The claims for a model that was taught when to be silent."""
    fitted = abstention_of(classifier)
    found = evaluate(classifier, test, readout=fitted.readout).at_temperature(fitted.temperature)
    counts = tally(fitted, found)
    report.share("test photos, made to answer: right", round(found.accuracy * found.n), found.n, FORCED)
    report.share("test photos, answered with a diagnosis: right", counts.right, counts.diagnosis, RIGHT)
    report.share("test photos: answered with a diagnosis", counts.diagnosis, counts.n, ANSWERED)
    report.share("test photos: not called not known", counts.n - counts.not_known, counts.n, KNOWN)
    report.at_most(
        f"test photos: expected calibration error ({BINS} bins)",
        found.calibrated.expected_calibration_error,
        MOST_ERROR,
    )
    for kind in sorted(folder.name for folder in other.iterdir() if folder.is_dir()):
        logits, features = classifier.logits_and_features(
            [open_photo(path) for path in files(other / kind)], fitted.readout
        )
        verdicts = [judged.verdict for judged in fitted.judge(logits.numpy(), features.numpy())]
        silent = len(verdicts) - verdicts.count("diagnosis")
        report.share(
            f"{kind}: unsure or not known ({verdicts.count('not_known')} not known)",
            silent,
            len(verdicts),
            SILENT.get(kind, 0.0),
        )


def files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
    )


Measure = Callable[[Answers], np.ndarray]


def mahalanobis(train: Answers, validation: Answers) -> Measure:
    known = fit(train, validation, 1.0, Readout(1), range(train.logits.shape[1])).detector
    return lambda answers: known.distances(answers.features)


def neighbours(train: Answers, _validation: Answers) -> Measure:
    """Distance to the 5th nearest train photo on features of length 1 (Sun et al. 2022)."""

    def unit(answers: Answers) -> np.ndarray:
        return answers.features / np.linalg.norm(answers.features, axis=1, keepdims=True)

    index = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit(train))
    return lambda answers: index.kneighbors(unit(answers))[0][:, -1]


def energy(_train: Answers, _validation: Answers) -> Measure:
    """Minus the logarithm of the summed exponentials of the logits (Liu et al. 2020)."""
    return lambda answers: -logsumexp(answers.logits, axis=1)


def compare(classifier: LeafClassifier, data: DatasetDict, other: Path) -> None:
    """Which measure on which layer tells other photos apart, its limit at the validation photo of rank 95
    %.
    """
    splits = {}
    for split in ("train", "validation", "test"):
        parts = list(batches(data[split], classifier))
        splits[split] = every_layer(
            classifier,
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )
    strange = {}
    for kind in sorted(folder.name for folder in other.iterdir() if folder.is_dir()):
        pixels = np.concatenate(
            [classifier.resize([open_photo(path)]).numpy() for path in files(other / kind)]
        )
        strange[kind] = every_layer(classifier, pixels, np.zeros(len(pixels), int))
    print(f"{'measure':14} block  test photos known  " + "  ".join(f"{kind} not known" for kind in strange))
    for layer in range(classifier.blocks):
        train, validation, test = (splits[split][layer] for split in ("train", "validation", "test"))
        for measure_of in (mahalanobis, neighbours, *([energy] if layer == classifier.blocks - 1 else [])):
            score = measure_of(train, validation)
            limit = np.quantile(score(validation), COVERAGE, method="higher")
            shares = [
                f"{(score(answers[layer]) > limit).mean():{len(kind) + 10}.1%}"
                for kind, answers in strange.items()
            ]
            print(
                f"{measure_of.__name__:14} {layer + 1:5}  {(score(test) <= limit).mean():17.1%}  "
                + "  ".join(shares)
            )


def every_layer(classifier: LeafClassifier, pixels: np.ndarray, targets: np.ndarray) -> list[Answers]:
    """What the model gives for resized photos (N, 3, H, W), with the [CLS] token after each block in turn."""
    logits, tokens = [], []
    for start in range(0, len(pixels), BATCH):
        with capture_hidden(classifier.model) as hidden:
            logits.append(
                classifier.forward_fast(
                    classifier.normalise(torch.from_numpy(pixels[start : start + BATCH]))
                ).numpy()
            )
            tokens.append(np.stack([layer[:, 0].float().numpy() for layer in hidden[1:]]))
    whole = np.concatenate(logits)
    return [Answers(whole, features, targets) for features in np.concatenate(tokens, axis=1)]


if __name__ == "__main__":
    raise SystemExit(main())
