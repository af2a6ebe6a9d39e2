"""Many photos on the page: a job that fills and can be stopped, its table with kinds and pages, and the files
to take away.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from vit_demo.common.jobs import JobState
from vit_demo.common.words import LANGUAGES, say, speaking
from vit_demo.diagnose.diagnosis import Diagnosis, Refusal
from vit_demo.model.checkpoints import EMBEDDED
from vit_demo.ui.shared.models import get_classifier
from vit_demo.ui.tabs.diagnose import many, many_jobs
from vit_demo.ui.tabs.diagnose.many_jobs import (
    JOBS,
    PAGE,
    THUMB,
    ManyPhotos,
    Row,
    status_html,
    table_html,
    thumbnail,
)

SCORES = {"bean_rust": 0.9, "healthy": 0.06, "angular_leaf_spot": 0.04}
# Of 1,000 photos, every tenth is one of these.
KINDS = {
    0: Diagnosis(
        "", "angular_leaf_spot", 0.5, SCORES, "unsure", ["angular_leaf_spot", "bean_rust"], 1.0, 0.5
    ),
    1: Diagnosis("", "healthy", 0.5, SCORES, "not_known", [], 1.0, 3.0),
    2: Refusal("", "It is <b>no</b> photo."),
    3: Diagnosis("", "healthy", 0.9, SCORES, "diagnosis", ["healthy"], 1.0, 0.5, ["dark", "small"]),
}
RUST = Diagnosis("", "bean_rust", 0.9, SCORES, "diagnosis", ["bean_rust"], 1.0, 0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A zip with 20 photos, one of them broken, and a single photo."""
    folder = tmp_path_factory.mktemp("files")
    single = folder / "single.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (150, 300, 3), dtype=np.uint8)).save(single)
    with zipfile.ZipFile(folder / "leaves.zip", "w") as out:
        for number in range(19):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
                picture, "PNG"
            )
            out.writestr(f"field/{number:02}.png", picture.getvalue())
        out.writestr("field/broken.png", b"no photo")
    return [str(folder / "leaves.zip"), str(single)]


@pytest.fixture
def full() -> ManyPhotos:
    """1,000 photos that are done."""
    job = ManyPhotos(classifier=get_classifier(EMBEDDED), total=1000)
    for number in range(1000):
        answer = KINDS.get(number % 10, RUST)
        job.rows.append(
            Row(
                type(answer)(**{**vars(answer), "photo": f"field/{number:03}<i>.jpg"}),
                "" if isinstance(answer, Refusal) else "AAAA",
            )
        )
    return JOBS.add(job.end(JobState.DONE))


def counts(html: str) -> dict[str, int]:
    return {
        kind: int(count)
        for kind, count in re.findall(r'data-many="kind:([^"]*)"[^>]*>[^<]*<b>(\d+)</b>', html)
    }


def names(html: str) -> list[str]:
    return re.findall(r'many-name">field/(\d+)', html)


def test_a_job_tells_how_far_it_is_and_ends_with_table_and_files(files, tiny_model, monkeypatch):
    monkeypatch.setattr(many, "TICK", 0)
    first, *during, last = list(many.run(files, str(tiny_model)))
    job = JOBS.find(first[0])
    assert (
        first[3]["visible"] is False
        and first[4]["visible"] is True
        and say("diagnose.many_counting") in first[1]
    )
    assert "Photo 16 of 21, about" in during[0][1] and 'aria-valuenow="16"' in during[0][1]
    assert (
        say("diagnose.many_done", total=21) in last[1]
        and last[3]["visible"] is True
        and last[4]["visible"] is False
    )
    assert (
        counts(last[2])["all"] == 21
        and counts(last[2])["refused"] == 1
        and sum(counts(last[2]).values()) == 42
    )
    assert last[2].count("data:image/jpeg;base64,") == 20 and "broken.png is not a photo" in last[2]
    written = list(csv.DictReader(io.StringIO(Path(last[5]["value"]).read_text(encoding="utf-8"))))
    assert [row["photo"] for row in written][::20] == ["leaves.zip/field/00.png", "single.jpg"]
    told = json.loads(Path(last[6]["value"]).read_text(encoding="utf-8"))
    assert (
        [row["photo"] for row in told]
        == [row["photo"] for row in written]
        == [row.answer.photo for row in job.rows]
    )
    assert [row["label"] for row in written] == [
        row.get("label", "") for row in told
    ] and "probability" in told[0]["text"]
    assert sum("error" in row for row in told) == sum(row["error"] != "" for row in written) == 1


def test_what_is_done_when_it_is_stopped_or_the_page_goes_away_is_kept(files, tiny_model, monkeypatch):
    monkeypatch.setattr(many, "TICK", 0)
    for stop in (lambda steps, job: many.halt(job.key), lambda steps, job: steps.close()):
        steps = many.run(files, str(tiny_model))
        job = JOBS.find(next(steps)[0])
        next(steps)
        stop(steps, job)
        rest = list(steps)
        assert len(rest) in (0, 1) and not job.is_going
        table, csv_file, _ = many.choose(job.key, SimpleNamespace(value="kind:all"))
        assert (
            16 <= len(job.rows) <= 21
            and counts(table)["all"] == len(job.rows)
            and Path(csv_file["value"]).is_file()
        )
    assert len(job.rows) == 16 and say("diagnose.many_stopped", done=16, total=21) in status_html(job)


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_nothing_to_do_and_too_much_are_told(files, tiny_model, language, monkeypatch):
    monkeypatch.setattr(many_jobs, "MOST", 20)
    for chosen, words in (
        (None, say("diagnose.many_none", language)),
        (files, say("diagnose.many_too_many", language, total=21, most=20)),
    ):
        *_, last = many.run(chosen, str(tiny_model))
        assert (
            words.replace("'", "&#39;") in last[1]
            and last[2] == ""
            and last[3]["visible"]
            and not last[5]["visible"]
        )


def test_a_broken_zip_and_a_model_that_is_gone_are_told(tiny_model, tmp_path):
    broken = tmp_path / "leaves.zip"
    broken.write_bytes(b"no zip")
    *_, last = many.run([str(broken)], str(tiny_model))
    assert "leaves.zip is not a zip file" in last[1] and last[3]["visible"]
    *_, last = many.run([str(broken)], str(tmp_path / "nowhere"))
    assert "There is no model folder" in last[1] and last[3]["visible"] and not last[4]["visible"]


def test_kinds_and_pages_choose_what_is_seen(full):
    table, *_ = many.choose(full.key, SimpleNamespace(value="kind:all"))
    expected = {
        "all": 1000,
        "class:angular_leaf_spot": 0,
        "class:bean_rust": 600,
        "class:healthy": 100,
        "unsure": 100,
        "not_known": 100,
        "refused": 100,
    }
    assert counts(table) == expected and names(table) == [f"{number:03}" for number in range(PAGE)]
    table, *_ = many.choose(full.key, SimpleNamespace(value="page:19"))
    assert (
        names(table) == [f"{number:03}" for number in range(950, 1000)]
        and "Photos 951 to 1000 of 1000" in table
    )
    for kind, digit in (("unsure", "0"), ("not_known", "1"), ("refused", "2"), ("class:healthy", "3")):
        table, *_ = many.choose(full.key, SimpleNamespace(value=f"kind:{kind}"))
        assert len(names(table)) == PAGE and {name[-1] for name in names(table)} == {digit}
        assert table.count('aria-pressed="true"') == 1 and f'"kind:{kind}" aria-pressed="true"' in table
    table, *_ = many.choose(full.key, SimpleNamespace(value="kind:class:angular_leaf_spot"))
    assert names(table) == [] and say("diagnose.many_nothing") in table
    for nonsense in ("page:9999", "page:-1", "kind:", "", "<script>"):
        assert isinstance(many.choose(full.key, SimpleNamespace(value=nonsense))[0], str)


def test_what_is_said_of_a_photo(full):
    table = table_html(full)
    rows = re.findall(r"<li.*?</li>", table, flags=re.S)
    assert "Either angular leaf spot or bean rust" in rows[0] and "probability" not in rows[0]
    assert say("diagnose.not_known_label") in rows[1] and "ealthy" not in rows[1]
    assert "It is &lt;b&gt;no&lt;/b&gt; photo." in rows[2] and "<img" not in rows[2]
    assert (
        "Healthy" in rows[3]
        and "90.0\N{NO-BREAK SPACE}% probability" in rows[3]
        and all(say(f"quality.{key}") in rows[3] for key in ("dark", "small"))
    )
    assert "<i>" not in table


def test_a_thousand_photos_are_filtered_in_a_moment(full):
    start = time.perf_counter()
    for kind in ("all", "unsure", "refused", "class:bean_rust"):
        many.choose(full.key, SimpleNamespace(value=f"kind:{kind}"))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
def test_another_language_tells_the_same_rows_again(full, language):
    status, table = many.retell(full.key)
    assert say("diagnose.many_done", language, total=1000) in status and counts(table)["all"] == 1000
    if language == "zh":
        seen = re.sub(r"<[^>]*>|field/[^<]*", " ", table.replace("It is &lt;b&gt;no&lt;/b&gt; photo.", ""))
        assert not re.findall(r"[A-Za-z]{2,}", seen.replace("&lt;i&gt;.jpg", ""))
    assert (
        many.retell("nobody") == (many._empty(), "")
        and escape(say("diagnose.many_empty", language, most=many_jobs.MOST)) in many._empty()
    )


def test_old_jobs_make_room_for_new_ones(full):
    for _ in range(many_jobs.KEEP):
        JOBS.add(ManyPhotos(classifier=full.classifier).end(JobState.DONE))
    assert JOBS.find(full.key) is None
    with speaking("fr"):
        table, *saved = many.choose(full.key, SimpleNamespace(value="kind:all"))
    assert say("diagnose.many_lost", "fr") in table and not any(update["visible"] for update in saved)
    assert many.halt(full.key) is None


@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "a.jpg"), ("RGBA", "a.png"), ("L", "a.png"), ("CMYK", "a.jpg"), ("P", "a.gif")]
)
def test_a_thumbnail_is_small_whatever_the_photo_is(tmp_path, mode, name):
    Image.effect_noise((1200, 400), 50).convert(mode).save(tmp_path / name)
    content = base64.b64decode(thumbnail(tmp_path / name))
    small = Image.open(io.BytesIO(content))
    assert small.format == "JPEG" and max(small.size) == THUMB and len(content) < 4000
