"""The page for programs: the examples of docs/api.md run against a real server, and answers always have the
same keys.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.conftest import ROOT
from vit_demo.common.words import say
from vit_demo.data.open.sources import open_dataset
from vit_demo.diagnose.diagnosis import diagnose_files
from vit_demo.diagnose.several import combine
from vit_demo.diagnose.telling import told, told_together
from vit_demo.ui.app import build, options
from vit_demo.ui.shared.models import get_classifier

DOCS = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
ONE = {
    "photo",
    "label",
    "probability",
    "scores",
    "verdict",
    "prediction_set",
    "temperature",
    "distance",
    "quality",
    "language",
    "text",
}
KEYS = ONE | {"counts", "voted", "leaves"}


def examples(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", DOCS, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """leaf1.jpg and leaf2.jpg, a zip of both and a file that is no photo."""
    made, leaves = tmp_path_factory.mktemp("photos"), open_dataset("beans")["test"]
    for number in (1, 2):
        leaves[number * 43]["image"].save(made / f"leaf{number}.jpg", quality=95)
    (made / "notes.jpg").write_text("this is a shopping list")
    with zipfile.ZipFile(made / "leaves.zip", "w") as packed:
        for name in ("leaf1.jpg", "leaf2.jpg", "notes.jpg"):
            packed.write(made / name, f"field/{name}")
    return made


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    page = build()
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **options())
    yield address.rstrip("/")
    page.close()


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def run(example: str, command: list[str], url: str, folder: Path) -> str:
    """What an example of the docs prints, with the address of this server."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    done = subprocess.run(
        [*command, example.replace("http://127.0.0.1:7860", url)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_these_two_are_listed_with_what_they_do(url):
    listed = json.load(urllib.request.urlopen(f"{url}/gradio_api/info"))["named_endpoints"]
    names = {
        name: [parameter["parameter_name"] for parameter in about["parameters"]]
        for name, about in listed.items()
    }
    assert names == {
        "/diagnose": ["photo", "model", "language", "photos"],
        "/diagnose_batch": ["photos", "model", "language"],
    }
    assert all(about["description"].startswith("Diagnose ") for about in listed.values())
    assert all(
        parameter["parameter_has_default"] for about in listed.values() for parameter in about["parameters"]
    )
    assert all(f"`[{', '.join(parameters)}]`" in DOCS for parameters in names.values())


def test_one_photo_is_answered_as_by_itself(client, folder, tiny_model):
    found = client.predict(
        handle_file(str(folder / "leaf1.jpg")), str(tiny_model), "fr", api_name="/diagnose"
    )
    classifier = get_classifier(str(tiny_model))
    expected = told(classifier, next(iter(diagnose_files(classifier, [folder / "leaf1.jpg"]))), "fr")
    assert set(found) == KEYS and {key: found[key] for key in ONE} == {**expected, "photo": "leaf1.jpg"}
    assert found["voted"] == 1 and [leaf["photo"] for leaf in found["leaves"]] == ["leaf1.jpg"]


def test_several_photos_are_one_plant_with_the_same_keys(client, folder, tiny_model):
    files = [folder / name for name in ("leaf1.jpg", "leaf2.jpg", "notes.jpg")]
    photos = [handle_file(str(file)) for file in files]
    found = client.predict(photos=photos, model=str(tiny_model), language="sw", api_name="/diagnose")
    both = client.predict(
        photos[0], photos=photos[1:], model=str(tiny_model), language="sw", api_name="/diagnose"
    )
    classifier = get_classifier(str(tiny_model))
    expected = told_together(classifier, combine(list(diagnose_files(classifier, files))), "sw")
    assert found == both and set(found) == KEYS and found["photo"] is None
    assert all(
        found[key] == expected[key]
        for key in ("verdict", "label", "scores", "prediction_set", "counts", "voted", "text")
    )
    assert (
        set(found["leaves"][0]) == ONE
        and set(found["leaves"][2]) == {"photo", "error"}
        and found["leaves"][2]["photo"] == "notes.jpg"
    )


def test_many_photos_and_a_zip_are_answered_one_by_one(client, folder, tiny_model):
    files = [handle_file(str(folder / name)) for name in ("leaf2.jpg", "leaves.zip")]
    found = client.predict(files, str(tiny_model), "pt", api_name="/diagnose_batch")
    assert [answer["photo"] for answer in found] == [
        "leaf2.jpg",
        *(f"leaves.zip/field/{name}" for name in ("leaf1.jpg", "leaf2.jpg", "notes.jpg")),
    ]
    assert [set(answer) for answer in found] == [ONE] * 3 + [{"photo", "error", "language"}]
    numbers = {
        "scores",
        "probability",
        "distance",
    }  # which differ in the last digits with the photos beside it
    assert {key: found[0][key] for key in ONE - {"photo", *numbers}} == {
        key: found[2][key] for key in ONE - {"photo", *numbers}
    }
    assert found[0]["scores"] == pytest.approx(found[2]["scores"], abs=1e-4)


def test_what_cannot_be_answered_is_refused_with_a_sentence(client, folder):
    for named, words in (
        ({"api_name": "/diagnose"}, "no photo"),
        ({"api_name": "/diagnose_batch"}, "at least one photo"),
        ({"language": "xx", "api_name": "/diagnose"}, "xx"),
        ({"photo": handle_file(str(folder / "notes.jpg")), "api_name": "/diagnose"}, "is not a photo"),
        ({"photos": [handle_file(str(folder / "leaf1.jpg"))] * 13, "api_name": "/diagnose"}, "at most 12"),
        (
            {"photo": [handle_file(str(folder / "leaf1.jpg"))] * 2, "api_name": "/diagnose"},
            "^Several photos go in photos, as a list; photo takes one.$",
        ),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(**named)


def test_errors_are_told_in_the_language_asked_for(client, folder, tiny_model):
    notes, leaf = handle_file(str(folder / "notes.jpg")), handle_file(str(folder / "leaf1.jpg"))
    for named in (
        {"photos": [leaf, notes], "api_name": "/diagnose"},
        {"photos": [leaf, notes], "api_name": "/diagnose_batch"},
    ):
        found = client.predict(**named, model=str(tiny_model), language="fr")
        refused = (found["leaves"] if isinstance(found, dict) else found)[1]
        assert refused["error"].startswith(say("error.photos.no_photo", "fr", name="notes.jpg"))
    with pytest.raises(AppError) as caught:
        client.predict(notes, language="sw", api_name="/diagnose")
    assert say("error.photos.no_photo", "sw", name="notes.jpg") in unescape(str(caught.value))


@pytest.mark.parametrize("language", ["sw", "fr", "en"])
def test_what_is_no_file_is_refused_in_the_language_asked_for(client, folder, language):
    leaf = handle_file(str(folder / "leaf1.jpg"))
    for endpoint, sent, key in (
        ("/diagnose", {"photo": [leaf]}, "one_photo"),
        ("/diagnose", {"photo": 7}, "no_file"),
        ("/diagnose", {"photo": "leaf1.jpg"}, "no_file"),
        ("/diagnose", {"photos": leaf}, "no_file"),
        ("/diagnose", {"photos": [[leaf]]}, "no_file"),
        ("/diagnose_batch", {"photos": leaf}, "no_file"),
        ("/diagnose_batch", {"photos": "leaf1.jpg"}, "no_file"),
        ("/diagnose_batch", {"photos": [None]}, "no_file"),
    ):
        with pytest.raises(AppError) as caught:
            client.predict(**sent, language=language, api_name=endpoint)
        assert unescape(str(caught.value)) == say(f"error.page.{key}", language), (endpoint, sent)


def test_the_example_for_gradio_client_runs(url, folder):
    printed = run(examples("python")[0], [sys.executable, "-c"], url, folder)
    assert "leaf1.jpg" in printed and "leaf2.jpg" in printed and len(printed.splitlines()) >= 4


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
def test_the_example_for_curl_runs(url, folder):
    printed = run(examples("sh")[0], ["bash", "-ec"], url, folder)
    found = json.loads(re.search(r"event: complete\ndata: (.*)", printed)[1])[0]
    assert set(found) == KEYS and found["photo"] == "leaf1.jpg"


@pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="needs gradio[mcp], see requirements/mcp.txt"
)
def test_the_example_for_mcp_runs(url, folder):
    printed = run(examples("python")[1], [sys.executable, "-c"], url, folder)
    names, _, answer = printed.partition("\n")
    by_itself = told(
        get_classifier(None), next(iter(diagnose_files(get_classifier(None), [folder / "leaf1.jpg"]))), "en"
    )
    assert (
        names == "['diagnose', 'diagnose_batch']"
        and by_itself["text"].split("\N{NO-BREAK SPACE}")[0] in answer
    )
