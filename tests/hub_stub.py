"""A Hugging Face Hub on 127.0.0.1: enough of its HTTP interface to download models and data sets, and to push
the latter.

``HF_ENDPOINT`` is read when huggingface_hub is imported, so code that shall talk to the stub runs
in a process of its own: see :meth:`HubStub.run`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
DATE = "2026-01-01T00:00:00.000Z"

# What the process runs: calls `run(...)` of the given code, and tells apart a sentence for people from a
# crash.
RUNNER = """
import json, sys, time
# The Hub's clients wait between attempts; nothing here gets better by waiting.
time.sleep = lambda seconds: None
from vit_demo.common.errors import UserError
code, arguments = json.load(sys.stdin)
space = {}
exec(code, space)
try:
    answer = {"result": space["run"](**arguments)}
except UserError as error:
    answer = {"refused": str(error)}
print("ANSWER" + json.dumps(answer))
"""


@dataclass
class Repo:
    """One repository: revision (branch, tag or pull request) to commit, commit to folder, and its pull
    requests.
    """

    commits: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    pull_requests: list[dict] = field(default_factory=list)
    private: bool = False

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.folders else self.commits.get(revision)


class HubStub:
    """Start with ``with HubStub() as hub``; add repositories at any time.

    requests: "METHOD path" of each one that was answered. breaks: files whose download ends half way. token:
    what the processes of :meth:`run` are logged in with. writers: of each token that the Hub knows, the owner
    of the names that may be written with it. pushed: where what is pushed is kept, a folder for each commit.
    refuses: status of an answer to each request to a path that ends so.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[str] = []
        self.breaks: set[str] = set()
        self.token = ""
        self.writers: dict[str, str] = {}
        self.pushed: Path | None = None
        self.refuses: dict[str, int] = {}
        self.stored: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> HubStub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on the Hub cannot be reached."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def downloads(self) -> list[str]:
        """Paths inside their repositories of all files that were sent."""
        return [
            line.split("/resolve/")[1].split("/", 1)[1]
            for line in self.requests
            if line.startswith("GET ") and "/resolve/" in line
        ]

    def add(self, name: str, folder: Path, revision: str = "main", kind: str = "model") -> str:
        """Publish a folder as a revision of a repository; returns the commit."""
        repo = self.repos.setdefault((kind, name), Repo())
        commit = hashlib.sha1(f"{kind} {name} {revision} {folder}".encode()).hexdigest()
        repo.commits[revision] = commit
        repo.folders[commit] = folder
        return commit

    def add_pull_request(
        self,
        name: str,
        folder: Path,
        author: str = "SFconvertbot",
        title: str = "Adding `safetensors` variant of this model",
    ) -> str:
        """Publish a folder as an open pull request to a model; returns the commit."""
        repo = self.repos[("model", name)]
        number = len(repo.pull_requests) + 1
        repo.pull_requests.append(
            {
                "num": number,
                "title": title,
                "author": {"name": author},
                "createdAt": DATE,
                "status": "open",
                "repo": {"name": name, "type": "model"},
                "isPullRequest": True,
            }
        )
        return self.add(name, folder, revision=f"refs/pr/{number}")

    def run(self, home: Path, code: str, **arguments: object) -> dict:
        """Call ``run(**arguments)`` of ``code`` in a process that takes this stub for the Hub.

        home: the process's HF_HOME. Returns {"result": ...}, or {"refused": sentence} for a
        UserError. Any other exception fails the test with the process's traceback.
        """
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        if self.token:
            environment["HF_TOKEN"] = self.token
        for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps([code, arguments]),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        answers = [
            line.removeprefix("ANSWER") for line in done.stdout.splitlines() if line.startswith("ANSWER")
        ]
        assert done.returncode == 0 and len(answers) == 1, done.stdout + done.stderr
        return json.loads(answers[0])


class _Handler(BaseHTTPRequestHandler):
    hub: HubStub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self._body()
        if not self._write(unquote(urlsplit(self.path).path), body):
            self._answer(body.decode())

    def do_PUT(self) -> None:
        """A large file, to where the answer to "batch" said."""
        body = self._body()
        self.hub.requests.append(f"PUT {self.path}")
        digest = self.path.rpartition("/")[2]
        if digest != hashlib.sha256(body).hexdigest():
            return self._refuse(400, "", "Not what was promised")
        self.hub.stored[digest] = body
        self._send(200, b"", {})

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _write(self, path: str, body: bytes) -> bool:
        """Answer what writes; False where it is something else."""
        found = re.fullmatch(
            r"/api/datasets/([^/]+/[^/]+)/(preupload|commit)/main|/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/(batch)",
            path,
        )
        if path == "/api/validate-yaml":  # of a card
            self._json({"errors": [], "warnings": []})
            return True
        if path != "/api/repos/create" and not found:
            return False
        self.hub.requests.append(f"POST {path}")
        owner = self.hub.writers.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        status = next((status for ending, status in self.hub.refuses.items() if path.endswith(ending)), 0)
        if owner is None:
            self._refuse(401, "", "Invalid username or password.")
        elif status:
            self._refuse(status, "", "Refused")
        elif not found:
            self._create(json.loads(body), owner)
        elif not (found[1] or found[3]).startswith(f"{owner}/"):
            self._refuse(403, "", "Forbidden")
        elif found[2] == "preupload":
            files = [{"path": file["path"], "shouldIgnore": False} for file in json.loads(body)["files"]]
            self._json(
                {
                    "files": [
                        {**file, "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular"}
                        for file in files
                    ]
                }
            )
        elif found[4]:
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        else:
            self._commit(found[1], body)
        return True

    def _create(self, asked: dict, owner: str) -> None:
        name = f"{asked['organization'] or owner}/{asked['name']}"
        if not name.startswith(f"{owner}/"):
            return self._refuse(403, "", "You have no rights to create a dataset there")
        if ("dataset", name) in self.hub.repos:
            taken = {
                "error": "You already created this dataset repo",
                "url": f"{self.hub.url}/datasets/{name}",
            }
            return self._send(
                409,
                json.dumps(taken).encode(),
                {"X-Error-Message": taken["error"], "Content-Type": "application/json"},
            )
        empty = self.hub.pushed / "empty"
        empty.mkdir(exist_ok=True)
        self.hub.add(name, empty, kind="dataset")
        self.hub.repos["dataset", name].private = asked.get("visibility") == "private"
        self._json({"url": f"{self.hub.url}/datasets/{name}"})

    def _commit(self, name: str, body: bytes) -> None:
        """A folder as the one before, with what the lines say."""
        repo = self.hub.repos["dataset", name]
        folder = self.hub.pushed / f"{name.replace('/', '-')}-{len(repo.folders)}"
        shutil.copytree(repo.folders[repo.commits["main"]], folder)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "deletedFile":
                (folder / value["path"]).unlink()
            elif line["key"] in ("file", "lfsFile"):
                file = folder / value["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(
                    base64.b64decode(value["content"])
                    if line["key"] == "file"
                    else self.hub.stored[value["oid"]]
                )
        commit = self.hub.add(name, folder, kind="dataset")
        self._json(
            {
                "success": True,
                "commitOid": commit,
                "commitUrl": f"{self.hub.url}/datasets/{name}/commit/{commit}",
            }
        )

    def log_message(self, *_: object) -> None:
        """Nothing on the screen: the tests read `requests`."""

    def _answer(self, body: str = "") -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append(f"{self.command} {path}")
        resolve = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path)
        api = re.fullmatch(
            r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info|discussions)(?:/(.+))?)?",
            path,
        )
        found = resolve or api
        if not found:
            return self._refuse(404, "", "Not found")
        kind = "dataset" if found[1] == "datasets" else "model"
        repo = self.hub.repos.get((kind, found[2]))
        if repo is None:  # the real one says 401 to strangers, as the repository might be a private one
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if api and api[3] == "discussions":
            return self._discussions(repo, parse_qs(url.query))
        revision, inner = (
            (resolve[3], resolve[4])
            if resolve
            else _split_revision(repo, (api[4] if api else None) or "main")
        )
        commit = repo.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        folder = repo.folders[commit]
        if resolve:
            return self._file(folder / inner, commit)
        if api[3] == "tree":
            return self._json([entry for entry in _entries(folder) if entry["path"].startswith(inner)])
        if api[3] == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            return self._json([entry for entry in _entries(folder) if entry["path"] in wanted])
        siblings = [{"rfilename": entry["path"]} for entry in _entries(folder) if entry["type"] == "file"]
        self._json(
            {
                "id": found[2],
                "sha": commit,
                "lastModified": DATE,
                "private": repo.private,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": siblings,
            }
        )

    def _discussions(self, repo: Repo, query: dict[str, list[str]]) -> None:
        author = query.get("author", [None])[0]
        chosen = [item for item in repo.pull_requests if author in (None, item["author"]["name"])]
        self._json({"discussions": chosen, "count": len(chosen), "start": 0})

    def _file(self, file: Path, commit: str) -> None:
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        content = file.read_bytes()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_digest(content)}"', "Accept-Ranges": "bytes"}
        if self.command == "GET" and file.name in self.hub.breaks:
            self._send(200, content[: len(content) // 2], {**headers, "Content-Length": str(len(content))})
            self.close_connection = True
            return
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part:
            start, end = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(206, content[start : end + 1], headers)
        else:
            self._send(200, content, headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        extra = {"X-Error-Code": code} if code else {}
        self._send(
            status,
            json.dumps({"error": message}).encode(),
            {"X-Error-Message": message, **extra, **(headers or {})},
        )

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _split_revision(repo: Repo, rest: str) -> tuple[str, str]:
    """ "revision/path" to both; a revision may hold slashes itself, as refs/pr/1 does."""
    known = [
        revision
        for revision in (*repo.commits, *repo.folders)
        if rest == revision or rest.startswith(revision + "/")
    ]
    revision = max(known, key=len, default=rest.split("/")[0])
    return revision, rest[len(revision) + 1 :]


def _entries(folder: Path) -> list[dict]:
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found.append({"type": "directory", "path": name, "oid": "0" * 40})
        else:
            found.append(
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _digest(path.read_bytes())}
            )
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
