"""How faithful the maps of each method are on a test split, and whether the default one beats the others.

    python -m benchmarks.faithfulness

Deletion and insertion (Petsiuk et al. 2018) of each photo by each method, by a random and by a centred map;
means with 95 % intervals (Student's t over photos), the default method's difference to random, centred and
raw attention of the last layer, photo by photo, and whether its interval is clear of 0. Then the sanity check
(Adebayo et al. 2018). Occlusion, which takes minutes, is measured where --methods names it. The same
measurement is `python -m vit_demo faithfulness`; here the verdicts stand at the end and decide the exit
status.
"""

from __future__ import annotations

import argparse

from vit_demo.cli.faithfulness import add_plan, measure_split, text
from vit_demo.data.open.sources import open_dataset
from vit_demo.explain.attribution.trust import ALL, DEFAULT, mean_of
from vit_demo.model.classifier import LeafClassifier

# A map of a model that knows nothing may agree with the model's own by less than this, as a mean of rank
# correlations.
MOST_AGREEMENT = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="beans", help="what `--data` of the commands takes (default: %(default)s)"
    )
    parser.add_argument(
        "--model", default="embedded", help="model folder or name (default: the embedded model)"
    )
    parser.add_argument(
        "--split", default="test", choices=("train", "validation", "test"), help="default: %(default)s"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    add_plan(parser)
    options = parser.parse_args()
    # Here and not above: how torch's threads wait is set when vit_demo is imported, which must come first.
    import torch

    torch.set_num_threads(options.threads)
    found = measure_split(
        LeafClassifier.open(options.model, device="cpu"), open_dataset(options.data)[options.split], options
    )
    print(text(found))
    passed = True
    for rival, measures in found.to_dict()["differences"].items():
        for measure, verdict in measures["verdict"].items():
            passed &= verdict == "better"
            print(f"{measure}: {DEFAULT} against {rival}: {verdict}")
    agreement = mean_of(found.sanity[DEFAULT][ALL]).mean
    passed &= abs(agreement) < MOST_AGREEMENT
    print(
        f"sanity check: with {ALL} drawn anew the maps of {DEFAULT} keep a rank correlation of"
        f" {agreement:.3f}, which must be within {MOST_AGREEMENT:g} of 0"
    )
    print("All passed." if passed else "Not all passed.")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
