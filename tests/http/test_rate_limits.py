"""How many failures are enough, for whom, and what is said of it."""

import pytest
from django.core.cache import cache
from django.http import HttpResponse

from orgmanager.rate_limits import (
    MAX_COUNTERS,
    FailureLimits,
    client_address,
    network,
)

SINGLE = "/org/api/org/single"
DOWN = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
        "OPTIONS": {"IGNORE_EXCEPTIONS": True, "SOCKET_CONNECT_TIMEOUT": 0.2},
    }
}


@pytest.fixture
def make_limits():
    """Return a function that makes the middleware before a view, with its own clock."""

    def make(*, status=400, at=1_000_000_020):  # begins a minute
        view = {"status": status, "at": at, "calls": 0}

        def answer(request):
            view["calls"] += 1
            return HttpResponse(status=view["status"])

        return FailureLimits(answer, clock=lambda: view["at"]), view

    return make


def post(limits, rf, *, address="192.0.2.1", path=SINGLE, method="post"):
    return limits(getattr(rf, method)(path, REMOTE_ADDR=address))


def test_the_sixth_bad_registration_of_a_minute_is_not_looked_at(make_limits, rf):
    limits, view = make_limits()
    statuses = [post(limits, rf).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429] and view["calls"] == 5
    view["at"] += 60
    assert post(limits, rf).status_code == 400


def test_a_refusal_says_how_long_to_wait(make_limits, rf):
    limits, view = make_limits()
    view["at"] += 18
    for _ in range(5):
        post(limits, rf)
    response = post(limits, rf)
    assert response["Retry-After"] == "42"
    assert response["RateLimit-Policy"] == '"registration";q=5;w=60'
    assert response["RateLimit"] == '"registration";r=0;t=42'


def test_each_answer_says_what_is_left_of_each_limit(make_limits, rf):
    limits, _ = make_limits()
    post(limits, rf)
    response = post(limits, rf)
    assert response["RateLimit"].split(", ")[:2] == [
        '"registration";r=3;t=60',
        '"registration-all";r=18;t=60',
    ]
    assert '"registration-all";q=20;w=60' in response["RateLimit-Policy"]


def test_bad_registrations_from_everywhere_have_a_limit_of_their_own(make_limits, rf):
    limits, _ = make_limits()
    statuses = [
        post(limits, rf, address=f"192.0.2.{number}").status_code
        for number in range(21)
    ]
    assert statuses == [400] * 20 + [429]


def test_what_succeeds_is_not_counted_where_something_could_be_guessed(make_limits, rf):
    limits, view = make_limits(status=202)
    assert [post(limits, rf).status_code for _ in range(20)] == [202] * 20
    view["status"] = 409
    assert [post(limits, rf).status_code for _ in range(20)] == [409] * 20


def test_bad_tokens_are_told_to_wait_and_good_ones_pass(make_limits, rf):
    """Fails when one caller's bad tokens lock out others behind the same address."""
    limits, view = make_limits(status=401)
    path = "/org/api/organizations/x"
    statuses = [post(limits, rf, path=path).status_code for _ in range(61)]
    assert statuses == [401] * 60 + [429]
    view["status"] = 200
    response = post(limits, rf, path=path)
    assert response.status_code == 200 and "RateLimit" not in response.headers


def test_a_good_token_costs_no_look_at_the_cache(make_limits, rf, settings):
    """Fails when every request of the API waits for a cache that hangs."""
    settings.CACHES = DOWN | {"default": DOWN["default"] | {"OPTIONS": {}}}
    limits, _ = make_limits(status=200)  # this cache raises at any touch
    assert post(limits, rf, path="/org/api/organizations/x").status_code == 200
    assert post(limits, rf, path="/org/api/env", method="get").status_code == 200


def test_public_pages_are_limited_whatever_they_answer(make_limits, rf):
    limits, _ = make_limits(status=200)
    statuses = {
        post(limits, rf, path="/org/api/env", method="get").status_code
        for _ in range(6000)
    }
    assert statuses == {200}
    assert post(limits, rf, path="/api/schema", method="get").status_code == 429


def test_both_prefixes_share_a_limit(make_limits, rf):
    limits, _ = make_limits()
    for _ in range(5):
        post(limits, rf, path="/api/org/single")
    assert post(limits, rf).status_code == 429


def test_processes_count_together_through_the_cache(make_limits, rf):
    one, _ = make_limits()
    other, _ = make_limits()
    for _ in range(4):
        post(one, rf)
    assert '"registration";r=0;t=60' in post(other, rf)["RateLimit"]
    assert post(one, rf).status_code == 429


def test_without_the_cache_each_process_counts_alone(make_limits, rf, settings):
    settings.CACHES = DOWN
    limits, _ = make_limits()
    assert [post(limits, rf).status_code for _ in range(6)] == [400] * 5 + [429]


def test_a_cache_that_forgot_is_no_way_around(make_limits, rf):
    limits, _ = make_limits()
    for _ in range(5):
        post(limits, rf)
    cache.clear()
    assert post(limits, rf).status_code == 429


def test_counters_of_many_callers_do_not_fill_the_memory(make_limits, rf):
    limits, view = make_limits(status=200)
    for number in range(MAX_COUNTERS + 10):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        post(limits, rf, address=address, path="/org/api/env", method="get")
    assert len(limits._local) <= MAX_COUNTERS


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "6.6.6.6", "127.0.0.1"),
        (1, "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (2, "6.6.6.6, 192.0.2.7, 10.0.0.1", "192.0.2.7"),
        (2, "192.0.2.7", "127.0.0.1"),
        (1, "", "127.0.0.1"),
        (1, " , ,", "127.0.0.1"),
    ],
)
def test_the_address_is_the_one_that_our_outermost_proxy_wrote(
    rf, settings, proxies, forwarded, address
):
    settings.TRUSTED_PROXY_COUNT = proxies
    request = rf.get("/", headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("x\r\ny", "unknown"),
        ("999.1.1.1", "unknown"),
    ],
)
def test_callers_are_told_apart_by_what_they_cannot_change(address, expected):
    assert network(address) == expected


@pytest.mark.django_db
def test_the_eleventh_wrong_password_of_a_minute_is_not_tried(
    client, django_user_model
):
    django_user_model.objects.create_superuser("olga", password="Correct-Horse-7")
    page = "/admin/login/?next=/admin/"
    wrong = {"username": "olga", "password": "Wrong-Horse-7"}
    assert {client.post(page, wrong).status_code for _ in range(10)} == {200}
    right = {"username": "olga", "password": "Correct-Horse-7"}
    answer = client.post(page, right)
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    assert "Too many tries" in answer.text
    elsewhere = client.post(page, right, REMOTE_ADDR="198.51.100.7")
    assert elsewhere.status_code == 302


@pytest.mark.django_db
def test_a_right_password_is_never_counted(client, django_user_model):
    django_user_model.objects.create_superuser("olga", password="Correct-Horse-7")
    right = {"username": "olga", "password": "Correct-Horse-7"}
    statuses = {client.post("/admin/login/", right).status_code for _ in range(15)}
    assert statuses == {302}
