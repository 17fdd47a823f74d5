"""The OpenAPI document and the page that shows it."""

import json
import re

import pytest
import yaml
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from orgmanager import docs, schema


@pytest.fixture(autouse=True)
def forget_rendered():
    docs._render.cache_clear()
    yield
    docs._render.cache_clear()


@pytest.fixture
def document():
    """The document of the test routes, after all hooks."""
    found = SchemaGenerator(urlconf="tests.http.routes").get_schema(public=True)
    for hook in (schema.add_summaries, schema.name_as_on_the_wire):
        hook(found, None, None, True)
    return json.loads(json.dumps(found))


def test_the_document_of_the_service_is_valid_openapi():
    found = SchemaGenerator().get_schema(public=True)
    for hook in (schema.add_summaries, schema.name_as_on_the_wire):
        hook(found, None, None, True)
    validate_schema(json.loads(json.dumps(found)))


def test_the_document_of_the_test_routes_is_valid_openapi(document):
    validate_schema(document)
    assert document["openapi"].startswith("3.1")


def test_each_route_is_described_once(document):
    assert not [path for path in document["paths"] if path.startswith("/api/")]
    assert "/org/api/organizations/{organizationId}" in document["paths"]


def test_each_operation_says_how_it_refuses(document):
    post = document["paths"]["/org/api/orders"]["post"]["responses"]
    assert {"400", "409", "413", "415", "429", "503"} <= set(post)
    get = document["paths"]["/org/api/organizations/{organizationId}"]["get"]
    assert "404" in get["responses"] and "413" not in get["responses"]
    for name, response in document["components"]["responses"].items():
        assert set(response["content"]) == {"application/problem+json"}, name
    waits = document["components"]["responses"]["Unavailable"]["headers"]
    assert "Retry-After" in waits


def test_fields_are_camel_case_and_unknown_ones_refused(document):
    schemas = document["components"]["schemas"]
    order = schemas["OrderRequest"]
    assert {"code", "orderItems", "tagsByName"} <= set(order["properties"])
    assert "id" not in order["properties"] and order["additionalProperties"] is False
    assert schemas["ItemRequest"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Order"]
    assert schemas["PatchedOrderRequest"]["minProperties"] == 1


def test_a_merge_patch_is_offered_for_patches_alone(document):
    order = document["paths"]["/org/api/orders"]
    assert set(order["post"]["requestBody"]["content"]) == {"application/json"}
    assert "application/merge-patch+json" in order["patch"]["requestBody"]["content"]


def test_each_operation_has_a_summary_in_words(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            assert re.fullmatch(r"[A-Z][a-z0-9_ ]+", operation["summary"])


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "*/*", "application/json"),
        ("", "text/html", "application/json"),
        ("", "application/json", "application/json"),
        ("", "application/yaml", "application/yaml"),
        ("", "application/json;q=0.5, application/yaml", "application/yaml"),
        ("?format=yaml", "application/json", "application/yaml"),
        ("?format=json", "application/yaml", "application/json"),
        ("?format=xml", "*/*", "application/json"),
    ],
)
def test_the_document_comes_as_json_or_yaml(routes, query, accept, kind):
    response = routes.get(f"/org/api/schema{query}", headers={"Accept": accept})
    assert response["Content-Type"] == kind
    assert yaml.safe_load(response.content)["openapi"].startswith("3.1")


@pytest.mark.parametrize("prefix", ["/org/api", "/api"])
def test_the_page_and_all_it_loads_come_from_here(routes, prefix):
    page = routes.get(f"{prefix}/docs")
    text = page.content.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) >= 5 and "://" not in text
    for link in links:
        assert not link.startswith("/"), "a proxy may strip a prefix"
        response = routes.get(f"{prefix}/{link}")
        assert response.status_code == 200, link
        assert response["Content-Type"].split(";")[0] in {
            "application/json",
            "application/yaml",
            "image/png",
            "text/css",
            "text/javascript",
        }


def test_the_page_runs_no_script_but_its_own(routes):
    page = routes.get("/org/api/docs")
    assert "script-src 'self';" in page["Content-Security-Policy"]
    assert "<script>" not in page.content.decode()


@pytest.mark.parametrize(
    "name", ["settings.py", "..%2fdocs.html", "swagger-ui.css.map"]
)
def test_no_other_file_is_an_asset(routes, name):
    assert routes.get(f"/org/api/docs/assets/{name}").status_code == 404
