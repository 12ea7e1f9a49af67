"""The OpenAPI documents: what a generator of clients needs is there, and nothing that is untrue."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.main import create_app
from backend.settings import Settings
from gpu_server.server import create_app as create_gpu_server
from gpu_server.settings import Settings as GpuSettings

Document = dict[str, Any]


@pytest.fixture(params=["backend", "gpu_server"])
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Document:
    if request.param == "gpu_server":
        return create_gpu_server(GpuSettings(easel_data_dir=tmp_path)).openapi()
    return create_app(Settings(easel_data_dir=tmp_path)).openapi()


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_a_short_name_a_known_tag_and_words(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations(document):
        assert re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", operation["operationId"]), name
        assert set(operation["tags"]) <= tags, name
        assert operation["summary"], name
        assert operation["tags"] == ["OpenAI"] or operation["description"], name


def test_every_error_is_the_one_component(document: Document) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status < "400" or "content" not in answer:
                continue
            found = {
                media["schema"].get("$ref", "").rpartition("/")[2]
                for kind, media in answer["content"].items()
                if not (name == "GET /readyz" and kind == "application/json")
            }
            is_openai = name.split()[1].startswith("/v1/")
            assert found <= {"OpenAIError" if is_openai else "Problem"}, (name, status)


def test_references_lead_to_components(document: Document) -> None:
    text = json.dumps(document)
    assert "$defs" not in text
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]


def test_files_and_event_streams_have_types(document: Document) -> None:
    for name, operation in operations(document):
        for answer in operation["responses"].values():
            for kind, media in answer.get("content", {}).items():
                assert media["schema"], name
                if kind.startswith("image/"):
                    assert media["schema"] == {"type": "string", "format": "binary"}


def test_what_needs_a_key_says_so_and_what_does_not_says_that(document: Document) -> None:
    security = {name: operation["security"] for name, operation in operations(document)}
    assert security.pop("GET /livez") == []
    assert {} in security.pop("GET /readyz")
    assert all(each == [{"key": []}] for each in security.values())
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_it_says_who_where_and_under_which_licence(document: Document, tmp_path: Path) -> None:
    assert document["servers"][0]["url"] == "/"
    assert document["info"]["license"]["identifier"] == "Apache-2.0"
    assert document["info"]["contact"]["name"]
    public = Settings(easel_data_dir=tmp_path, backend_public_url="https://easel.example")
    servers = create_app(public).openapi()["servers"]
    assert [server["url"] for server in servers] == ["https://easel.example", "/"]


def test_no_header_is_described_that_openapi_describes_otherwise(document: Document) -> None:
    for name, operation in operations(document):
        headers = {
            each["name"] for each in operation.get("parameters", []) if each["in"] == "header"
        }
        assert not headers & {"accept", "authorization", "content-type"}, name
