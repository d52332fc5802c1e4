"""The description of the API: 3.1, whole, and true."""

from collections.abc import Iterator
from typing import Any

import pytest

from sites import API, Site

PUBLIC = {
    ("post", "/api/v1/auth/register"),
    ("post", "/api/v1/auth/confirm"),
    ("post", "/api/v1/auth/login"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}
PROBLEMS = {"400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}
STEPS = {"verify", "complete", "step-up", "approve"}


@pytest.fixture
def document(sqlite_site: Site) -> dict[str, Any]:
    answer = sqlite_site.client.get(f"{API}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def walk(part: Any) -> Iterator[Any]:
    yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(inner)


def references_in(document: dict[str, Any]) -> set[str]:
    return {part["$ref"] for part in walk(document) if isinstance(part, dict) and isinstance(part.get("$ref"), str)}


def test_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version", "summary"} <= set(document["info"])


def test_every_operation_says_how_to_sign_in(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme") or scheme.get("in")) for scheme in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "cookie"),
    }
    without = {(method, path) for method, path, operation in operations(document) if not operation.get("security")}
    assert without == PUBLIC
    named = {
        name for _, _, operation in operations(document) for entry in operation.get("security", []) for name in entry
    }
    assert named == set(schemes)


def test_every_operation_describes_its_problems(document: dict[str, Any]) -> None:
    lacking = {
        (method, path): sorted(PROBLEMS - set(operation["responses"]))
        for method, path, operation in operations(document)
        if path.startswith(API) and not set(operation["responses"]) >= PROBLEMS
    }
    assert lacking == {}
    for method, path, operation in operations(document):
        for status in set(operation["responses"]) & PROBLEMS:
            content = operation["responses"][status]["content"]
            schema = content["application/problem+json"]["schema"]
            assert (list(content), schema) == (
                ["application/problem+json"],
                {"$ref": "#/components/schemas/Problem"},
            ), (method, path, status)


def test_health_describes_its_problem(document: dict[str, Any]) -> None:
    assert "application/problem+json" in document["paths"]["/readyz"]["get"]["responses"]["503"]["content"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = references_in(document)
    assert references
    for reference in references:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_every_schema_is_used(document: dict[str, Any]) -> None:
    references = references_in(document)
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} - references == set()


def test_every_placeholder_is_a_parameter(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        placeholders = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        declared = {entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "path"}
        assert declared == placeholders, (method, path)


def test_operations_have_names_of_their_own_and_words(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert [path for _, path, operation in operations(document) if not operation.get("description")] == []


def test_forms_refuse_what_they_do_not_know(document: dict[str, Any]) -> None:
    open_forms = [
        (method, path)
        for method, path, operation in operations(document)
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json" and resolve(document, body["schema"]).get("additionalProperties") is not False
    ]
    assert open_forms == []


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].rsplit("/", 1)[-1]
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_the_routes_of_the_first_issue_are_there(document: dict[str, Any]) -> None:
    named = {(method, path) for method, path, _ in operations(document)}
    wanted = {("post", f"{API}/auth/{last}") for last in ("register", "login", "logout")} | {
        ("get", f"{API}/auth/me"),
        ("post", f"{API}/scans"),
        ("get", f"{API}/scans"),
        *(("get", f"{API}/scans/{{scan_id}}{last}") for last in ("", "/image", "/heatmap", "/events")),
        *(("post", f"{API}/scans/{{scan_id}}/{step}") for step in STEPS),
        ("get", f"{API}/reports/{{report_id}}"),
        ("get", f"{API}/reports/{{report_id}}/pdf"),
        ("get", "/healthz"),
        ("get", "/readyz"),
    }
    assert wanted - named == set()


def test_no_page_and_no_documentation_site_is_described_or_served(sqlite_site: Site, document: dict[str, Any]) -> None:
    assert {path for path in document["paths"] if not path.startswith(API)} == {"/healthz", "/readyz"}
    for path in ("/docs", "/redoc", "/openapi.json", "/debug", "/admin/debug"):
        assert sqlite_site.client.get(path).status_code == 404
