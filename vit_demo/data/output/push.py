"""Push a data set to the Hugging Face Hub, as parquet files with a card; always private, since photos may
show more than their sender knows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vit_demo.common.errors import UserError
from vit_demo.data.corrections.decided import fingerprint
from vit_demo.data.normalise import label_names
from vit_demo.data.output.export import Progress, export
from vit_demo.model.checkpoints import is_hub_name

if TYPE_CHECKING:
    from datasets import DatasetDict


def push(data: DatasetDict, name: str, progress: Progress = lambda done: None) -> str:
    """Push to the Hub, where the user is logged in; returns the address. name: "owner/name", whose earlier
    files are replaced in one commit.

    progress: told how many photos are written; then they are sent. Raises UserError with what to do.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # it is documented there

    if not is_hub_name(name):
        raise UserError("error.data.push_name")
    token = get_token()
    if token is None:
        raise UserError("error.data.push_no_login")
    disable_progress_bars()
    api = HfApi(token=token)
    place: dict[str, Any] = {"repo_id": name, "repo_type": "dataset"}
    with tempfile.TemporaryDirectory(prefix="vit_demo-push-") as folder, _as_sentence(name):
        # First what may be refused, then what takes long.
        api.create_repo(**place, private=True, exist_ok=True)
        if not api.repo_info(**place).private:
            raise UserError("error.data.push_public", name=name)
        export(data, Path(folder, "data"), "parquet", progress)
        Path(folder, "README.md").write_text(card(data, name), encoding="utf-8")
        api.upload_folder(
            **place,
            folder_path=folder,
            commit_message=f"{sum(map(len, data.values())):,} photos",
            delete_patterns="data/*",
        )
    return f"{api.endpoint}/datasets/{name}"


def card(data: DatasetDict, name: str) -> str:
    """What stands on the data set's page: how many photos of each class and split, and the fingerprint that
    runs write into their model cards.
    """
    labels = label_names(data)
    counts = {
        split: np.bincount(np.asarray(part["labels"]), minlength=len(labels)) for split, part in data.items()
    }
    rows = [
        [label.replace("|", "/").replace("\n", " "), *(str(count[number]) for count in counts.values())]
        for number, label in enumerate(labels)
    ]
    table = [["Class", *counts], ["---"] * (1 + len(counts)), *rows]
    return "\n".join(
        [
            "---",
            "task_categories:",
            "- image-classification",
            "---",
            "",
            f"# {name.partition('/')[2]}",
            "",
            f"{sum(map(len, data.values()))} photos of {len(labels)} classes, mended with vit_demo.",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
            f"Fingerprint: `{fingerprint(data)}`",
            "",
        ]
    )


@contextmanager
def _as_sentence(name: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one sentence."""
    # HTTPError is only imported there, not defined, which mypy takes for private.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except UserError:
        raise
    except HfHubHTTPError as error:
        raise _refused(name, error.response.status_code) from None
    except (HTTPError, OSError):  # no network, in any of its forms
        raise UserError("error.data.push_unreachable") from None
    except (ValueError, RuntimeError) as error:  # of the storage behind the Hub
        raise UserError("error.data.push_incomplete", error=type(error).__name__) from None


def _refused(name: str, status: int) -> UserError:
    if status == 401:
        return UserError("error.data.push_token")
    if status in (403, 404):
        return UserError("error.data.push_not_yours", owner=name.partition("/")[0])
    if status in (400, 409):
        return UserError("error.data.push_bad_name", name=name)
    return UserError("error.data.push_refused", name=name, status=status)
