"""camelCase, and what a body may not hold."""

import pytest

from .routes import OrderSerializer

ORDERS = "/org/api/orders"


def errors_of(response):
    return {error["pointer"]: error["code"] for error in response.json()["errors"]}


def test_fields_are_camel_case_outside_and_snake_case_inside():
    form = OrderSerializer(data={"code": "a", "orderItems": [{"unitPrice": 1}]})
    assert form.is_valid()
    assert form.validated_data == {"code": "a", "order_items": [{"unit_price": 1}]}
    shown = OrderSerializer(form.validated_data | {"id": "x"}).data
    assert shown["orderItems"] == [{"unitPrice": 1}]


def test_each_refused_value_is_named_by_its_pointer(routes):
    body = {
        "code": "too long",
        "message": "too long",
        "orderItems": [{"unitPrice": 1}, {"unitPrice": -1}, {}, "x"],
        "tagsByName": {"ok": "a", "a/b~c": "too long"},
    }
    response = routes.post(ORDERS, body, content_type="application/json")
    assert response.status_code == 400
    assert errors_of(response) == {
        "/code": "max_length",
        "/message": "max_length",
        "/orderItems/1/unitPrice": "min_value",
        "/orderItems/2/unitPrice": "required",
        "/orderItems/3": "invalid",
        "/tagsByName/a~1b~0c": "max_length",
    }


def test_fields_called_message_and_code_are_fields(routes):
    body = {"code": "too long", "message": "too long"}
    response = routes.post(ORDERS, body, content_type="application/json")
    assert errors_of(response) == {"/code": "max_length", "/message": "max_length"}


@pytest.mark.parametrize("body", ["[]", "1", "null", '"x"', "true"])
def test_a_body_that_is_no_object_is_refused_as_a_whole(routes, body):
    response = routes.post(ORDERS, body, content_type="application/json")
    assert response.status_code == 400
    assert set(errors_of(response)) == {""}


def test_a_field_that_nobody_declared_is_refused(routes):
    body = {"code": "a", "order_items": [], "constructor": 1, "": 1}
    response = routes.post(ORDERS, body, content_type="application/json")
    expected = {"/order_items": "unknown", "/constructor": "unknown", "/": "unknown"}
    assert errors_of(response) == expected
    assert "code, message, orderItems" in response.json()["errors"][0]["detail"]


def test_a_field_that_cannot_be_set_is_refused(routes):
    response = routes.post(
        ORDERS, {"code": "a", "id": "x"}, content_type="application/json"
    )
    assert errors_of(response) == {"/id": "read_only"}


def test_a_nested_unknown_field_is_refused(routes):
    body = {"code": "a", "orderItems": [{"unitPrice": 1, "colour": "red"}]}
    response = routes.post(ORDERS, body, content_type="application/json")
    assert errors_of(response) == {"/orderItems/0/colour": "unknown"}


@pytest.mark.parametrize("body", [b"{}", b""])
def test_a_patch_that_changes_nothing_is_refused(routes, body):
    response = routes.patch(
        ORDERS, body, content_type="application/json", HTTP_IF_MATCH="*"
    )
    assert response.status_code == 400
    assert errors_of(response) == {"": "empty"}


def test_an_empty_body_where_one_is_needed_names_what_is_missing(routes):
    response = routes.post(ORDERS, b"", content_type="application/json")
    assert errors_of(response) == {"/code": "required"}


def test_a_body_of_many_unknown_fields_gets_a_short_answer(routes):
    body = {f"unknown{number}": 1 for number in range(40_000)}
    response = routes.post(ORDERS, body, content_type="application/json")
    assert response.status_code == 400 and len(response.json()["errors"]) == 100


def test_text_that_breaks_databases_never_reaches_a_field(routes):
    for text in ('"\\u0000"', '{"a": ["\\ud800"]}', '{"\\u0000": 1}'):
        body = f'{{"code": "a", "note": {text}}}'
        response = routes.post(ORDERS, body, content_type="application/json")
        assert response.status_code == 400
        assert response.json()["code"] == "malformed_body"
