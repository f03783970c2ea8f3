"""The part of the hub's HTTP API that uploads and downloads of models use, on loopback.

Written after `huggingface_hub`'s client and its documentation: repositories, pre-upload, LFS batches, commits as
NDJSON, files by revision. It can drop connections on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

SMALL = 100_000
"""Larger files go by LFS, in bytes."""


@dataclass
class Hub:
    """What is stored. ``dropped`` uploads are still to be cut off; ``token`` is the one that may write."""

    token: str = "hf_writer"
    dropped: int = 0
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    url: str = ""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def seen(request: Request, go: Any) -> Response:
            self.calls.append(f"{request.method} {request.url.path}")
            writes = request.method in ("POST", "PUT") and "/lfs-storage/" not in request.url.path
            if writes and request.headers.get("authorization") != f"Bearer {self.token}":
                return JSONResponse({"error": "Invalid credentials"}, 401, {"x-error-message": "Invalid credentials"})
            answer: Response = await go(request)
            return answer

        @app.post("/api/repos/create")
        async def create(request: Request) -> Response:
            body = await request.json()
            repo = f"{body['organization']}/{body['name']}" if body.get("organization") else f"someone/{body['name']}"
            known = repo in self.repos
            self.repos.setdefault(repo, {})
            return JSONResponse({"url": f"{self.url}/{repo}", "id": repo}, 409 if known else 200)

        @app.post("/api/validate-yaml")
        async def validate(request: Request) -> dict[str, Any]:
            assert (await request.json())["repoType"] == "model"
            return {"errors": [], "warnings": []}

        @app.post("/api/models/{org}/{name}/preupload/{revision}")
        async def preupload(org: str, name: str, request: Request) -> dict[str, Any]:
            files = (await request.json())["files"]
            return {
                "files": [
                    {"path": f["path"], "uploadMode": "lfs" if f["size"] > SMALL else "regular", "shouldIgnore": False}
                    for f in files
                ]
            }

        @app.post("/{org}/{name}.git/info/lfs/objects/batch")
        async def batch(org: str, name: str, request: Request) -> JSONResponse:
            objects = []
            for o in (await request.json())["objects"]:
                href = f"{self.url}/lfs-storage/{o['oid']}"
                action = {} if o["oid"] in self.lfs else {"actions": {"upload": {"href": href}}}
                objects.append({"oid": o["oid"], "size": o["size"], **action})
            return JSONResponse({"transfer": "basic", "objects": objects})

        @app.put("/lfs-storage/{oid}")
        async def put(oid: str, request: Request) -> Response:
            if self.dropped:
                self.dropped -= 1
                raise ConnectionResetError("dropped on purpose")
            data = await request.body()
            if hashlib.sha256(data).hexdigest() != oid:
                return Response(status_code=400)
            self.lfs[oid] = data
            return Response()

        @app.post("/api/models/{org}/{name}/commit/{revision}")
        async def commit(org: str, name: str, revision: str, request: Request) -> JSONResponse:
            lines = [json.loads(line) for line in (await request.body()).splitlines()]
            files = self.repos[f"{org}/{name}"]
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.lfs[value["oid"]]
            self.commits.append(lines[0]["value"])
            sha = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
            url = f"{self.url}/{org}/{name}/commit/{sha}"
            return JSONResponse({"success": True, "commitOid": sha, "commitUrl": url})

        @app.get("/api/models/{org}/{name}")
        @app.get("/api/models/{org}/{name}/revision/{revision}")
        async def info(org: str, name: str, revision: str = "main") -> Response:
            files = self.repos.get(f"{org}/{name}")
            if files is None:
                return JSONResponse({"error": "Repository not found"}, 404, {"x-error-code": "RepoNotFound"})
            return JSONResponse(
                {"id": f"{org}/{name}", "sha": SHA, "private": False, "siblings": [{"rfilename": f} for f in files]}
            )

        @app.api_route("/{org}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
        async def resolve(org: str, name: str, revision: str, path: str, request: Request) -> Response:
            data = self.repos.get(f"{org}/{name}", {}).get(path)
            if data is None:
                return Response(status_code=404, headers={"x-error-code": "EntryNotFound", "x-repo-commit": SHA})
            etag = hashlib.sha256(data).hexdigest()
            head = {"etag": f'"{etag}"', "x-repo-commit": SHA, "content-length": str(len(data))}
            return Response(b"" if request.method == "HEAD" else data, headers=head)

        @app.get("/api/models/{org}/{name}/tree/{revision}")
        @app.get("/api/models/{org}/{name}/tree/{revision}/{path:path}")
        async def tree(org: str, name: str, revision: str, path: str = "") -> Response:
            files = self.repos.get(f"{org}/{name}", {})
            rows = [{"type": "file", "path": f, "size": len(d), "oid": "0"} for f, d in files.items()]
            return JSONResponse([row for row in rows if str(row["path"]).startswith(path)])

        return app


SHA = "1" * 40
