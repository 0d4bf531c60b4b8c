"""A double of the Hugging Face hub's API of files, for huggingface_hub's own client: dataset repositories in memory.

It does what the client asks for when biocache uses it, as the client's source and the hub's documentation say: commits
are whole, content of large or binary files is uploaded before by its SHA-256, listings have pages, and access is by
token. It is not the hub.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from huggingface_hub.utils.sha import git_hash
from serving import Serving
from werkzeug.wrappers import Request, Response

WRITE, READ = "token-that-writes", "token-that-reads"
# Files of a page of a listing; the hub has 1,000.
PAGE = 9


@dataclass(frozen=True)
class Stored:
    """A file: its content, or the SHA-256 of a large one's."""

    content: bytes = b""
    lfs: str = ""

    @property
    def blob(self) -> str:
        return git_hash(f"pointer to {self.lfs}".encode() if self.lfs else self.content)


@dataclass
class Repo:
    """A repository: its commits, the first is the oldest, and who may do what."""

    commits: list[tuple[str, str, dict[str, Stored]]] = field(default_factory=list)
    private: bool = False
    gated: bool = False

    def add(self, message: str, files: dict[str, Stored]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append((oid, message, files))
        return oid

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, Stored]:
        """The files of the newest commit."""
        return self.commits[-1][2]

    @property
    def messages(self) -> list[str]:
        return [message for _, message, _ in self.commits]

    def at(self, revision: str) -> dict[str, Stored] | None:
        if revision == "main":
            return self.files
        return next((files for oid, _, files in self.commits if oid == revision), None)


class Hub(Serving):
    """The double.

    Attributes
    ----------
    repos
        Repositories by name.
    contents
        Contents of large files, by their SHA-256.
    uploads
        SHA-256 of each content that was sent, in the order of the requests.
    before_commit
        Called before each commit, once; as somebody else would come in between.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.contents: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.before_commit: Callable[[], object] | None = None
        super().__init__(Request.application(self._respond))

    @property
    def options(self) -> dict[str, str]:
        """Options of a store that may be written to."""
        return {"endpoint": self.endpoint, "token": WRITE}

    def make(self, name: str, files: dict[str, bytes] | None = None, **settings: bool) -> Repo:
        """Make a repository as its page does."""
        repo = self.repos[name] = Repo(**settings)
        repo.add("initial commit", {".gitattributes": Stored(b"*.bin filter=lfs\n")})
        if files:
            repo.add("by hand", repo.files | {path: Stored(data) for path, data in files.items()})
        return repo

    def text(self, name: str, path: str = "README.md") -> str:
        """Return a text file of the newest commit."""
        return self.repos[name].files[path].content.decode()

    def _respond(self, request: Request) -> Response:
        path = unquote(request.path)
        for pattern, answer in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda _: _json({"errors": [], "warnings": []})),
            (r"/content/(?P<oid>\w+)", self._content),
            (r"/api/datasets/(?P<name>[^/]+/[^/]+)/revision/(?P<revision>.+)", self._info),
            (r"/api/datasets/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", self._tree),
            (r"/api/datasets/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>.+)", self._preupload),
            (r"/api/datasets/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>.+)", self._commit),
            (r"/datasets/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._resolve),
        ):
            if match := re.fullmatch(pattern, path):
                groups = match.groupdict()
                if "name" in groups:
                    refused = self._refused(request, groups["name"])
                    if refused is not None:
                        return refused
                return answer(request, **groups)
        return _error(404, "", f"no such place: {path}")

    def _refused(self, request: Request, name: str) -> Response | None:
        """Return the answer to who may not do this; the hub does not tell what is private from what is not there."""
        repo, token = self.repos.get(name), _token(request)
        writing = request.method != "GET"
        if token not in ("", WRITE, READ):
            return _error(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not token):
            return _error(401 if not token else 404, "RepoNotFound", "Repository not found")
        if repo.gated and token != WRITE and "/resolve/" in request.path:
            return _error(403, "GatedRepo", "Access to this dataset is restricted")
        if writing and token != WRITE:
            return _error(403, "", "Your token may not write here")
        return None

    def _create(self, request: Request) -> Response:
        asked = request.get_json()
        name = f"{asked['organization']}/{asked['name']}"
        if _token(request) != WRITE:
            return _error(403, "", "Your token may not write here")
        made = {"url": f"{self.endpoint}/datasets/{name}"}
        if name in self.repos:
            return _json(made | {"error": "You already created this dataset repo"}, 409)
        self.make(name, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        return _json(made)

    def _info(self, _: Request, name: str, revision: str) -> Response:
        repo = self.repos[name]
        if repo.at(revision) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return _json({"id": name, "sha": repo.head if revision == "main" else revision})

    def _tree(self, request: Request, name: str, revision: str, folder: str | None) -> Response:
        files = self.repos[name].at(revision) or {}
        begin = f"{folder}/" if folder else ""
        found = {path: file for path, file in sorted(files.items()) if path.startswith(begin)}
        if not found:
            return _error(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        assert request.args["recursive"].lower() == "true"
        groups = {path[:end] for path in found for end in range(len(begin), len(path)) if path[end] == "/"}
        rows = [{"type": "directory", "path": group, "oid": "0" * 40, "size": 0} for group in sorted(groups)]
        rows += [self._row(path, file) for path, file in found.items()]
        start = int(request.args.get("cursor", 0))
        response = _json(rows[start : start + PAGE])
        if start + PAGE < len(rows):
            more = f"{request.base_url}?recursive=True&cursor={start + PAGE}"
            response.headers["Link"] = f'<{more}>; rel="next"'
        return response

    def _row(self, path: str, file: Stored) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "path": path, "oid": file.blob, "size": len(self._bytes(file))}
        if file.lfs:
            row["lfs"] = {"oid": file.lfs, "size": row["size"], "pointerSize": 130}
        return row

    def _bytes(self, file: Stored) -> bytes:
        return self.contents[file.lfs] if file.lfs else file.content

    def _preupload(self, request: Request, name: str, revision: str) -> Response:
        repo, rows = self.repos[name], []
        ignored = repo.files[".gitignore"].content.decode().split() if ".gitignore" in repo.files else []
        for asked in request.get_json()["files"]:
            sample = base64.b64decode(asked["sample"])
            large = asked["size"] > 10_000_000 or b"\0" in sample or _is_binary(sample)
            old = (repo.at(revision) or {}).get(asked["path"])
            rows.append(
                {
                    "path": asked["path"],
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": any(part in ignored for part in asked["path"].split("/")),
                    "oid": None if old is None else old.lfs or old.blob,
                }
            )
        return _json({"files": rows})

    def _batch(self, request: Request, name: str) -> Response:
        objects = []
        for asked in request.get_json()["objects"]:
            one = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.contents:
                one["actions"] = {"upload": {"href": f"{self.endpoint}/content/{asked['oid']}"}}
            objects.append(one)
        return _json({"transfer": "basic", "objects": objects})

    def _content(self, request: Request, oid: str) -> Response:
        if request.method == "GET":
            return Response(self.contents[oid])
        data = request.get_data()
        if hashlib.sha256(data).hexdigest() != oid:
            return _error(400, "", "content is not that of its SHA-256")
        self.uploads.append(oid)
        self.contents[oid] = data
        return Response()

    def _commit(self, request: Request, name: str, revision: str) -> Response:
        if (before := self.before_commit) is not None:
            self.before_commit = None
            before()
        repo = self.repos[name]
        if revision != "main":
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files, header = dict(repo.files), {}
        for line in request.get_data().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
            elif item["key"] == "file":
                files[value["path"]] = Stored(base64.b64decode(value["content"]))
            elif value["oid"] in self.contents:
                files[value["path"]] = Stored(lfs=value["oid"])
            else:
                return _error(422, "", f"{value['path']} was not uploaded")
        if header.get("parentCommit") not in (None, repo.head):
            return _error(412, "", "A commit has happened since. Please refresh and try again.")
        oid = repo.add(header["summary"], files)
        return _json({"success": True, "commitOid": oid, "commitUrl": f"{self.endpoint}/datasets/{name}/commit/{oid}"})

    def _resolve(self, _: Request, name: str, revision: str, path: str) -> Response:
        files = self.repos[name].at(revision)
        if files is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path not in files:
            return _error(404, "EntryNotFound", "Entry not found")
        file = files[path]
        headers = {"X-Repo-Commit": revision, "ETag": f'"{file.lfs or file.blob}"'}
        if file.lfs:
            return Response(status=302, headers=headers | {"Location": f"{self.endpoint}/content/{file.lfs}"})
        return Response(file.content, headers=headers)


def _is_binary(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError:
        return True
    return False


def _token(request: Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status=status, content_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Response(json.dumps({"error": message}), status=status, content_type="application/json", headers=headers)
