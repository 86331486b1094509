"""A Hub on this machine: as much of its HTTP interface as publishing and loading a model needs, in memory.

It keeps to what the real one does: LFS for weights, commits as newline-delimited JSON, branches that begin at a
commit, private repositories that look missing to strangers, and its headers for files and errors.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_" + "w" * 34, "hf_" + "r" * 34  # their tokens


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, bytes]
    parent: "Commit | None" = None


@dataclass
class Repo:
    private: bool
    branches: dict[str, Commit]
    commits: dict[str, Commit] = field(default_factory=dict)


@dataclass
class Fault:
    """An answer in place of the right one, to the next `times` requests of a method to a path."""

    method: str
    path: str
    status: int
    message: str = ""
    times: int = 1


class FakeHub:
    """The server. `repos`, `objects` (LFS, by SHA-256) and `requests` are there to look at, `faults` to set."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.room: int | None = None  # bytes of LFS
        self.lock = threading.RLock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "FakeHub":
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return self.repos[repo_id].branches[revision].files

    def commit(self, repo: Repo, branch: str, title: str, files: dict[str, bytes]) -> Commit:
        parent = repo.branches.get(branch)
        content = repr((title, parent and parent.oid, sorted((n, _git_oid(b)) for n, b in files.items())))
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), title, files, parent)
        repo.branches[branch] = repo.commits[commit.oid] = commit
        return commit

    def create(self, repo_id: str, private: bool) -> Repo:
        repo = self.repos[repo_id] = Repo(private, {})
        self.commit(repo, "main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return repo


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None):
        self.status, self.message, self.code = status, message, code


_ROUTES: list[tuple[str, re.Pattern, str]] = []


def _route(method: str, pattern: str):
    def register(function):
        _ROUTES.append((method, re.compile(pattern), function.__name__))
        return function

    return register


_REPO = r"(?P<repo_id>[\w.-]+/[\w.-]+)"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one piece
    server_hub: FakeHub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        hub, path = self.server_hub, urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._chunks()
        with hub.lock:
            hub.requests.append((self.command, unquote(path)))
            try:
                self._refuse_by_fault(path)
                for method, pattern, name in _ROUTES:
                    match = pattern.fullmatch(path)
                    if match and method == self.command.replace("HEAD", "GET"):
                        found = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                        return getattr(self, name)(**found)
                raise _Refused(404, f"no such page: {self.command} {path}", "EntryNotFound")
            except _Refused as refused:
                headers = {"X-Error-Message": refused.message}
                if refused.code:
                    headers["X-Error-Code"] = refused.code
                self._send({"error": refused.message}, refused.status, headers)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _refuse_by_fault(self, path: str) -> None:
        for fault in self.server_hub.faults:
            if fault.times and fault.method == self.command and fault.path in path:
                fault.times -= 1
                raise _Refused(fault.status, fault.message)

    def _send(self, content, status: int = 200, headers=None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(data if self.command != "HEAD" else b"")

    # ---- who asks, and for what ------------------------------------------------------------------------------------

    def _user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in (WRITER, READER):
            raise _Refused(401, "Invalid credentials in Authorization header")
        return {WRITER: "ann", READER: "bob"}.get(token)

    def _repo(self, repo_id: str, write: bool = False) -> Repo:
        repo, user = self.server_hub.repos.get(repo_id), self._user()
        if repo is None or (repo.private and user != repo_id.split("/")[0]):
            raise _Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user != repo_id.split("/")[0]:
            raise _Refused(403 if user else 401, "You don't have the rights to write to this repository")
        return repo

    def _revision(self, repo: Repo, revision: str) -> Commit:
        commit = repo.branches.get(revision) or repo.commits.get(revision)
        if commit is None:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ---- the interface ---------------------------------------------------------------------------------------------

    @_route("GET", "/api/whoami-v2")
    def whoami(self):
        user = self._user()
        if not user:
            raise _Refused(401, "Invalid username or password.")
        self._send({"name": user, "type": "user", "orgs": []})

    @_route("POST", "/api/repos/create")
    def create_repo(self):
        asked, user, hub = json.loads(self.body), self._user(), self.server_hub
        if user is None:
            raise _Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or user
        repo_id = f"{owner}/{asked['name']}"
        if owner != user:
            raise _Refused(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        if repo_id in hub.repos:
            return self._send({"url": f"{hub.url}/{repo_id}", "error": "You already created this model repo"}, 409)
        hub.create(repo_id, asked.get("visibility") == "private")
        self._send({"url": f"{hub.url}/{repo_id}"})

    @_route("POST", "/api/validate-yaml")
    def validate_yaml(self):
        content = json.loads(self.body)["content"]
        known = re.search(r"^license: (mit|apache-2.0|other)$", content, re.MULTILINE)
        errors = [] if known else [{"message": '"license" must be one of [mit, apache-2.0, other]'}]
        self._send({"errors": errors, "warnings": []}, 400 if errors else 200)

    @_route("POST", f"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)")
    def preupload(self, repo_id, revision):
        commit = self._revision(self._repo(repo_id, write=True), revision)
        files = []
        for asked in json.loads(self.body)["files"]:
            name, there = asked["path"], commit.files.get(asked["path"])
            answer = {"path": name, "uploadMode": "lfs" if _is_lfs(name) else "regular", "shouldIgnore": False}
            if there is not None:
                answer["oid"] = hashlib.sha256(there).hexdigest() if _is_lfs(name) else _git_oid(there)
            files.append(answer)
        self._send({"files": files})

    @_route("POST", rf"/{_REPO}\.git/info/lfs/objects/batch")
    def lfs_batch(self, repo_id):
        self._repo(repo_id, write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            room = self.server_hub.room
            if room is not None and sum(map(len, self.server_hub.objects.values())) + asked["size"] > room:
                answer["error"] = {"code": 507, "message": "Storage quota exceeded"}
            elif asked["oid"] not in self.server_hub.objects:
                answer["actions"] = {"upload": {"href": f"{self.server_hub.url}/_lfs/{asked['oid']}", "header": {}}}
            objects.append(answer)
        self._send({"transfer": "basic", "objects": objects})

    @_route("PUT", "/_lfs/(?P<oid>[0-9a-f]{64})")
    def lfs_put(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refused(400, "The content is not what was announced")
        self.server_hub.objects[oid] = self.body
        self._send({})

    @_route("POST", f"/api/models/{_REPO}/commit/(?P<revision>[^/]+)")
    def create_commit(self, repo_id, revision):
        hub, repo = self.server_hub, self._repo(repo_id, write=True)
        files, title = dict(self._revision(repo, revision).files), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header":
                title = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in hub.objects:
                    raise _Refused(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value["path"]] = hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
            else:
                raise _Refused(400, f"unknown operation {key}")
        commit = hub.commit(repo, revision, title, files)
        self._send({"success": True, "commitOid": commit.oid, "commitUrl": f"{hub.url}/{repo_id}/commit/{commit.oid}"})

    @_route("POST", f"/api/models/{_REPO}/branch/(?P<branch>[^/]+)")
    def create_branch(self, repo_id, branch):
        repo = self._repo(repo_id, write=True)
        if branch in repo.branches:
            raise _Refused(409, f"Reference already exists: {branch}")
        asked = json.loads(self.body) if self.body else {}
        repo.branches[branch] = self._revision(repo, asked.get("startingPoint", "main"))
        self._send({})

    @_route("GET", f"/api/models/{_REPO}/commits/(?P<revision>[^/]+)")
    def list_commits(self, repo_id, revision):
        commit, rows = self._revision(self._repo(repo_id), revision), []
        while commit:
            row = {"id": commit.oid, "title": commit.title, "message": "", "authors": [{"user": "ann"}]}
            rows.append({**row, "date": "2026-01-01T00:00:00.000Z"})
            commit = commit.parent
        self._send(rows)

    @_route("GET", f"/api/models/{_REPO}(?:/revision/(?P<revision>[^/]+))?")
    def repo_info(self, repo_id, revision="main"):
        repo = self._repo(repo_id)
        commit = self._revision(repo, revision)
        files = [{"rfilename": name} for name in sorted(commit.files)]
        self._send({"id": repo_id, "sha": commit.oid, "private": repo.private, "tags": [], "siblings": files})

    @_route("GET", f"/api/models/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?")
    def tree(self, repo_id, revision, folder=""):
        commit, rows = self._revision(self._repo(repo_id), revision), []
        if folder and not any(name.startswith(f"{folder}/") for name in commit.files):
            raise _Refused(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        for name, content in sorted(commit.files.items()):
            row = {"type": "file", "oid": _git_oid(content), "size": len(content), "path": name}
            if _is_lfs(name):
                row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            rows.append(row)
        self._send(rows)

    @_route("GET", f"/api/models/{_REPO}/refs")
    def refs(self, repo_id):
        branches = self._repo(repo_id).branches
        rows = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c.oid} for n, c in branches.items()]
        self._send({"branches": rows, "tags": [], "converts": []})

    @_route("GET", f"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
    def resolve(self, repo_id, revision, name):
        commit = self._revision(self._repo(repo_id), revision)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if name not in commit.files:
            return self._send(
                {"error": "Entry not found"}, 404, {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "-"}
            )
        content = commit.files[name]
        oid = hashlib.sha256(content).hexdigest() if _is_lfs(name) else _git_oid(content)
        self._send(content, headers={**headers, "ETag": f'"{oid}"'})
