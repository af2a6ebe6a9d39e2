"""Which checkpoints are found, listed and refused; nothing here loads a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub_stub import HubStub
from tests.sentences import is_plain
from vit_demo.common import settings
from vit_demo.model import checkpoints
from vit_demo.model.checkpoints import CONFIG, INDEX, PROCESSOR, WEIGHTS, locate
from vit_demo.model.classifier import LeafClassifier

BEANS = ("angular_leaf_spot", "bean_rust", "healthy")
LOCATE = """
def run(**options):
    import os
    from vit_demo.model.checkpoints import locate
    found = locate(**options)
    files = sorted(os.listdir(found.folder))
    return {"name": found.name, "revision": found.revision, "labels": found.labels, "files": files,
        "folder": str(found.folder)}
"""


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model for one test to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "my-model"))


def as_shards(folder: Path) -> None:
    """Turn model.safetensors into two shards with an index, as save_pretrained does for big models."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def as_pickle(folder: Path) -> None:
    """Leave only the old format, which may hide code."""
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


# --- folders on this computer


def test_embedded_is_the_default_and_complete() -> None:
    for spec in (None, "embedded", "", "  "):
        found = locate(spec)
        assert (found.folder, found.name, found.revision) == (settings.EMBEDDED_MODEL, "embedded", None)
        assert found.labels == BEANS and found.has_head


def test_model_folder_as_text_or_path(tiny_model: Path) -> None:
    for spec in (tiny_model, str(tiny_model), f" {tiny_model}/ "):
        found = locate(spec)
        assert (found.folder, found.name, found.revision, found.labels) == (
            tiny_model.resolve(),
            "model",
            None,
            BEANS,
        )


def test_run_folder_leads_to_its_model(tiny_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "2026-01-02-leaf"
    shutil.copytree(tiny_model, run / "model")
    (run / CONFIG).write_text('{"epochs": 3}')  # a run keeps its own settings under the same name
    found = locate(run)
    assert found.folder == (run / "model").resolve() and found.name == "2026-01-02-leaf"


def test_unfinished_run_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    run = tmp_path / "2026-01-02-leaf"
    run.mkdir()
    assert "has no config.json" in refusal(locate, run)


def test_choices_embedded_then_runs_newest_first_then_hub(home: Path, tiny_model: Path) -> None:
    for name in ("2026-01-01-a", "2026-03-01-c", "2026-02-01-b"):
        shutil.copytree(tiny_model, home / "runs" / name / "model")
    (home / "runs" / "2026-04-01-unfinished").mkdir()
    (home / "runs" / "2026-04-01-unfinished" / CONFIG).write_text("{}")
    specs = [choice.spec for choice in checkpoints.list_choices()]
    runs = [
        str((home / "runs" / name).resolve()) for name in ("2026-03-01-c", "2026-02-01-b", "2026-01-01-a")
    ]
    assert specs == ["embedded", *runs, *(name for name, _ in checkpoints.HUB_MODELS)]
    assert locate(specs[1]).name == "2026-03-01-c"
    assert all(choice.title for choice in checkpoints.list_choices())


def test_choices_without_any_run(home: Path) -> None:
    assert not home.exists()
    assert [choice.spec for choice in checkpoints.list_choices()] == [
        "embedded",
        *(name for name, _ in checkpoints.HUB_MODELS),
    ]


def test_no_head_means_no_labels(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model / WEIGHTS)
    save_file(
        {name: value for name, value in tensors.items() if not name.startswith("classifier.")},
        model / WEIGHTS,
    )
    found = locate(model)
    assert found.labels == () and not found.has_head


def test_labels_are_in_the_order_of_the_logits(model: Path) -> None:
    names = [f"class {index}" for index in range(12)]
    # As text, "10" comes before "2".
    edit_json(model / CONFIG, id2label={str(index): names[index] for index in sorted(range(12), key=str)})
    assert locate(model).labels == tuple(names)


def test_shards_are_opened(model: Path) -> None:
    as_shards(model)
    assert locate(model).labels == BEANS
    assert LeafClassifier.open(model).labels == list(BEANS)


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR, WEIGHTS])
def test_missing_file_is_named(model: Path, refusal: Callable[..., str], file: str) -> None:
    (model / file).unlink()
    text = refusal(locate, model)
    assert file in text and "my-model" in text
    assert file != PROCESSOR or "cannot be prepared" in text


def test_missing_shard_is_named(model: Path, refusal: Callable[..., str]) -> None:
    as_shards(model)
    (model / "model-00002-of-00002.safetensors").unlink()
    assert "lacks its weight file model-00002-of-00002.safetensors" in refusal(locate, model)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_truncated_weights(model: Path, refusal: Callable[..., str], kept: int) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[:kept])
    assert f"{WEIGHTS} of the model my-model is broken" in refusal(locate, model)


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR])
@pytest.mark.parametrize(
    "garbage",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000],
    ids=["empty", "open", "list", "null", "bytes", "nested"],
)
def test_garbage_instead_of_json(model: Path, refusal: Callable[..., str], file: str, garbage: bytes) -> None:
    (model / file).write_bytes(garbage)
    assert f"{file} of the model my-model is broken" in refusal(locate, model)


@pytest.mark.parametrize("id2label", [["a", "b", "c"], {"x": "a"}, {"0": "a", "2": "c"}, "abc"], ids=str)
def test_garbage_instead_of_labels(model: Path, refusal: Callable[..., str], id2label: object) -> None:
    edit_json(model / CONFIG, id2label=id2label)
    assert f"{CONFIG} of the model my-model is broken" in refusal(locate, model)


@pytest.mark.parametrize(
    "weight_map", [None, [], {}, "text", {"a": "sub/x"}, {"a": ""}, {"a": 3}, {"a": ".."}], ids=str
)
def test_garbage_instead_of_an_index(model: Path, refusal: Callable[..., str], weight_map: object) -> None:
    (model / WEIGHTS).unlink()
    (model / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert f"{INDEX} of the model my-model is broken" in refusal(locate, model)


@pytest.mark.parametrize("absolute", [False, True])
def test_index_cannot_lead_out_of_the_folder(
    model: Path, tmp_path: Path, refusal: Callable[..., str], absolute: bool
) -> None:
    # The file outside is a good one, so only the check of its name can refuse it.
    shutil.move(model / WEIGHTS, tmp_path / "x.safetensors")
    outside = str(tmp_path / "x.safetensors") if absolute else "../x.safetensors"
    (model / INDEX).write_text(json.dumps({"weight_map": {"classifier.weight": outside}}))
    assert f"{INDEX} of the model my-model is broken" in refusal(locate, model)


def test_pickled_weights_alone_are_refused(model: Path, refusal: Callable[..., str]) -> None:
    as_pickle(model)
    assert "safetensors" in refusal(locate, model)


def test_code_of_a_checkpoint_is_refused(model: Path, refusal: Callable[..., str]) -> None:
    edit_json(model / CONFIG, auto_map={"AutoModel": "modeling.Model"})
    assert "own code" in refusal(locate, model)


@pytest.mark.parametrize("kind", ["swin", "vit_mae", None])
def test_other_models_are_refused(model: Path, refusal: Callable[..., str], kind: str | None) -> None:
    edit_json(model / CONFIG, model_type=kind)
    assert (kind or "unknown type") in refusal(locate, model)


def test_file_instead_of_folder(model: Path, refusal: Callable[..., str]) -> None:
    assert "is a file" in refusal(locate, model / WEIGHTS)


@pytest.mark.parametrize(
    "spec",
    [
        "gpt2",
        "no such model",
        "a/b/c",
        "./here",
        "../x",
        "/no/such/folder",
        "~nobody-of-this-name/model",
        "a//b",
        "-a/b",
        "a\0b",
        "x" * 5000,
        "https://example.org/model",
        "é/ü",
        "owner/model name",
        "C:\\models\\vit",
    ],
)
def test_nonsense_names(spec: str, refusal: Callable[..., str]) -> None:
    assert "There is no model folder" in refusal(locate, spec)


# --- the Hub


@pytest.fixture(scope="module")
def hub(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStub]:
    """A Hub with one model of each kind."""
    root = tmp_path_factory.mktemp("hub")

    def published(name: str, change: Callable[[Path], object] = lambda folder: None) -> Path:
        folder = Path(shutil.copytree(tiny_model, root / name))
        change(folder)
        return folder

    with HubStub() as stub:
        stub.add("me/plain", published("plain"))
        stub.add(
            "me/plain",
            published(
                "v1", lambda folder: edit_json(folder / CONFIG, id2label={"0": "x", "1": "y", "2": "z"})
            ),
            revision="v1",
        )
        stub.add("me/sharded", published("sharded", as_shards))
        for name in ("converted", "pickled"):
            stub.add(f"me/{name}", published(name, as_pickle))
        stub.add("me/converted", published("old", as_pickle), revision="old")
        stub.add_pull_request("me/converted", published("stranger"), author="stranger")
        stub.add_pull_request("me/converted", published("other"), title="Fix the model card")
        stub.add_pull_request("me/converted", published("conversion"))
        stub.add_pull_request("me/pickled", published("trap"), author="stranger")
        stub.add(
            "me/code",
            published(
                "code", lambda folder: edit_json(folder / CONFIG, auto_map={"AutoModel": "modeling.Model"})
            ),
        )
        stub.add("me/swin", published("swin", lambda folder: edit_json(folder / CONFIG, model_type="swin")))
        stub.add("me/no-config", published("no-config", lambda folder: (folder / CONFIG).unlink()))
        yield stub


@pytest.fixture
def ask(hub: HubStub, tmp_path: Path) -> Callable[..., dict]:
    """locate() in a process that takes the stub for the Hub; `downloads` lists what this call fetched."""

    def call(spec: str, revision: str | None = None) -> dict:
        before = len(hub.downloads)
        answer = hub.run(tmp_path / "hf", LOCATE, spec=spec, revision=revision)
        assert is_plain(answer.get("refused", "Fine.")), answer
        return {
            **answer.get("result", {}),
            "refused": answer.get("refused"),
            "downloads": hub.downloads[before:],
        }

    return call


def test_hub_model(hub: HubStub, ask: Callable[..., dict]) -> None:
    found = ask("me/plain")
    assert (found["name"], found["revision"], found["labels"]) == (
        "me/plain",
        hub.repos["model", "me/plain"].commits["main"],
        list(BEANS),
    )
    assert sorted(found["downloads"]) == sorted([CONFIG, WEIGHTS, PROCESSOR])
    assert ask("me/plain")["downloads"] == []  # from the cache


def test_hub_model_in_shards(ask: Callable[..., dict]) -> None:
    found = ask("me/sharded")
    assert found["labels"] == list(BEANS)
    assert {INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} <= set(
        found["files"]
    )


@pytest.mark.parametrize("way", ["in the name", "as an argument", "as a commit"])
def test_hub_revision(hub: HubStub, ask: Callable[..., dict], way: str) -> None:
    commit = hub.repos["model", "me/plain"].commits["v1"]
    found = {
        "in the name": lambda: ask("me/plain@v1"),
        "as an argument": lambda: ask("me/plain", "v1"),
        "as a commit": lambda: ask("me/plain", commit),
    }[way]()
    assert (found["revision"], found["labels"]) == (commit, ["x", "y", "z"])


def test_hub_conversion_to_safetensors_is_used(hub: HubStub, ask: Callable[..., dict]) -> None:
    found = ask("me/converted")
    # Pull request 3 is the one by the Hub's own bot about safetensors.
    assert found["revision"] == hub.repos["model", "me/converted"].commits["refs/pr/3"]
    assert found["labels"] == list(BEANS) and WEIGHTS in found["downloads"]
    assert "pytorch_model.bin" not in hub.downloads


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("me/pickled", "only a stranger offers a conversion"),
        ("me/converted@old", "the conversion was made from another revision"),
    ],
)
def test_hub_pickle_is_never_downloaded(hub: HubStub, ask: Callable[..., dict], spec: str, why: str) -> None:
    found = ask(spec)
    assert "no weights in safetensors format" in (found["refused"] or ""), why
    assert WEIGHTS not in found["downloads"] and "pytorch_model.bin" not in hub.downloads


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("me/code", "wants to run its own code"),
        ("me/swin", "it is swin"),
        ("me/no-config", "has no config.json"),
    ],
)
def test_hub_refused_before_any_weights(ask: Callable[..., dict], name: str, sentence: str) -> None:
    found = ask(name)
    assert sentence in found["refused"] and name in found["refused"]
    assert set(found["downloads"]) <= {CONFIG}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("me/nothing", "There is no model me/nothing on the Hugging Face Hub"),
        ("me/plain@nothing", "has no revision nothing"),
    ],
)
def test_hub_unknown(ask: Callable[..., dict], spec: str, sentence: str) -> None:
    assert sentence in ask(spec)["refused"]


def test_hub_breaks_off(tiny_model: Path, tmp_path: Path) -> None:
    with HubStub() as hub:
        hub.add("me/plain", tiny_model)
        hub.breaks.add(WEIGHTS)
        text = hub.run(tmp_path / "hf", LOCATE, spec="me/plain")["refused"]
        assert is_plain(text) and "could not be downloaded" in text
        hub.breaks.clear()
        # Half a file is no model: the next attempt fetches it anew.
        assert hub.run(tmp_path / "hf", LOCATE, spec="me/plain")["result"]["labels"] == list(BEANS)


def test_hub_out_of_reach(tiny_model: Path, tmp_path: Path) -> None:
    with HubStub() as hub:
        hub.add("me/plain", tiny_model)
        as_pickle(Path(shutil.copytree(tiny_model, tmp_path / "pickled")))
        hub.add("me/pickled", tmp_path / "pickled")
        online = hub.run(tmp_path / "hf", LOCATE, spec="me/plain")["result"]
        hub.run(tmp_path / "hf", LOCATE, spec="me/pickled")
        hub.stop()
        assert hub.run(tmp_path / "hf", LOCATE, spec="me/plain")["result"] == online, (
            "a model that was opened before opens offline"
        )
        for name in ("me/other", "me/pickled"):
            text = hub.run(tmp_path / "hf", LOCATE, spec=name)["refused"]
            assert is_plain(text) and ("cannot be reached" in text or "Check the connection" in text)


def test_offline_by_choice(refusal: Callable[..., str]) -> None:
    assert "cannot be reached" in refusal(locate, "me/never-seen")
