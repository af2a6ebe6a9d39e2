"""The tutorial's recipe as published, and ours, on the same model, data and machine, in one run.

    python benchmarks/tutorial_recipe.py --data ../shared/data/beans --model ../shared/models/vit-tiny-patch16-224

Each side runs as a process of its own from start to end (interpreter, imports, photos, training,
saved and scored model). Prints one JSON object a side and then the ratio of the wall times.
The published code sets fp16; on a CPU, which cannot train in it, fp16 is off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tutorial(data: Path, model: str, out: Path, seed: int) -> dict:
    """The published recipe: map over all photos, collate, Trainer; then one evaluation on test."""
    import numpy as np
    import torch
    from datasets import load_dataset
    from transformers import Trainer, TrainingArguments, ViTForImageClassification, ViTImageProcessor

    splits = ("train", "validation", "test")
    photos = load_dataset("parquet", data_files={split: str(next(data.glob(f"**/{split}-*.parquet"))) for split in splits})
    processor = ViTImageProcessor.from_pretrained(model)
    labels = photos["train"].features["labels"].names

    def preprocess(batch: dict) -> dict:
        inputs = processor([photo.convert("RGB") for photo in batch["image"]], return_tensors="pt")
        return {"pixel_values": inputs["pixel_values"], "labels": batch["labels"]}

    def collate(batch: list) -> dict:
        return {
            "pixel_values": torch.stack([torch.as_tensor(row["pixel_values"]) for row in batch]),
            "labels": torch.tensor([row["labels"] for row in batch]),
        }

    def accuracy(prediction) -> dict:
        return {"accuracy": float(np.mean(np.argmax(prediction.predictions, axis=1) == prediction.label_ids))}

    begin = time.perf_counter()
    prepared = photos.map(preprocess, batched=True, batch_size=32, remove_columns=photos["train"].column_names, load_from_cache_file=False)
    prepared.set_format("torch")
    mapped = time.perf_counter() - begin
    network = ViTForImageClassification.from_pretrained(
        model, num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
        ignore_mismatched_sizes=True, dtype=torch.float32,
    )
    trainer = Trainer(
        model=network,
        args=TrainingArguments(
            output_dir=str(out), per_device_train_batch_size=16, per_device_eval_batch_size=16, eval_strategy="steps", num_train_epochs=2,
            fp16=torch.cuda.is_available(), save_steps=100, eval_steps=10, logging_steps=1, learning_rate=2e-4, save_total_limit=2,
            remove_unused_columns=False, report_to="none", load_best_model_at_end=True, seed=seed, disable_tqdm=True,
        ),
        data_collator=collate, compute_metrics=accuracy, train_dataset=prepared["train"], eval_dataset=prepared["validation"], processing_class=processor,
    )
    begin = time.perf_counter()
    trained = trainer.train()
    seconds = time.perf_counter() - begin
    trainer.save_model()
    trainer.log_metrics("train", trained.metrics)
    trainer.save_metrics("train", trained.metrics)
    trainer.save_state()
    validation = trainer.evaluate(prepared["validation"])
    return {
        "validation_accuracy": validation["eval_accuracy"],
        "test_accuracy": trainer.evaluate(prepared["test"])["eval_accuracy"],
        "map_seconds": round(mapped, 1),
        "train_seconds": round(seconds, 1),
    }


def timed(command: list[str]) -> dict:
    """Run one side; its last line of output is its JSON, to which the wall time is added."""
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    wall = time.perf_counter() - begin
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "wall_seconds": round(wall, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="parquet folder laid out as the tutorial's")
    parser.add_argument("--model", required=True, help="model folder or name")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=("tutorial", "ours"), help="one side alone")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(tutorial(options.data, options.model, options.inside, options.seed)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(options.model)
        common = ["--data", str(options.data.resolve()), "--model", str(model.resolve() if model.exists() else model), "--seed", str(options.seed)]
        sides = {
            "tutorial": [sys.executable, __file__, *common, "--inside", f"{folder}/tutorial"],
            "ours": [sys.executable, "-m", "vit_demo", "train", *common, "--epochs", "2", "--out", f"{folder}/ours", "--json"],
        }
        walls = {}
        for name, command in sides.items():
            if options.only in (None, name):
                result = timed(command)
                result.pop("model", None)
                walls[name] = result["wall_seconds"]
                print(json.dumps({"side": name, **result}), flush=True)
        if len(walls) == 2:
            print(f"ours takes {walls['ours'] / walls['tutorial']:.2f} of the tutorial's time ({walls['tutorial'] / walls['ours']:.1f} times faster)")


if __name__ == "__main__":
    main()
