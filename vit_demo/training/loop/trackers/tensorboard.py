"""TensorBoard as a tracker of runs."""

from __future__ import annotations

from vit_demo.training.run.config import TrainingConfig
from vit_demo.training.run.runs import Run


class TensorBoard:
    """Event files in the run's folder, for ``tensorboard --logdir``."""

    def __init__(self, run: Run, config: TrainingConfig):
        import tensorboard  # noqa: F401 - torch's own message for a missing one names no way to get it
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        self._writer.add_text("config", f"```json\n{config.to_json()}\n```")

    def write(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()
