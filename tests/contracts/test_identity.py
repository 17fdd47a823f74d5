"""Every identity provider keeps the same promises, and refuses the same things."""

import copy
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from orgmanager.errors import DomainError, Rejected
from orgmanager.identity import template
from orgmanager.identity.backends import keycloak, local
from orgmanager.identity.exceptions import RealmConflict
from orgmanager.identity.passwords import hash_password

PASSWORD = "Correct-Horse-7"
MARKER = "installation-1"


@pytest.fixture(params=["local", pytest.param("keycloak", marks=pytest.mark.services)])
def identity(request, tmp_path):
    if request.param == "local":
        yield local.Identity(path=tmp_path / "realms.sqlite3")
    else:
        yield from keycloak_identity(request.getfixturevalue("settings"))


def keycloak_identity(settings):
    """Yield the test Keycloak, and take away again the realms that it got."""
    if not (url := os.environ.get("TEST_KEYCLOAK_URL")):
        pytest.skip("TEST_KEYCLOAK_URL is not set; make test starts a Keycloak.")
    settings.IDENTITY_BASE_URL = url
    identity = keycloak.Identity(
        server_url=url,
        provisioning_realm="master",
        provisioning_client_id=os.environ["TEST_KEYCLOAK_CLIENT_ID"],
        provisioning_client_secret=os.environ["TEST_KEYCLOAK_CLIENT_SECRET"],
        service_account_secret="the-service-accounts-secret",
        timeout=30,  # a busy machine is no reason to fail
    )
    ensure_realm, names = identity.ensure_realm, set()

    def ensure_and_remember(representation):
        names.add(representation["realm"])
        ensure_realm(representation)

    identity.ensure_realm = ensure_and_remember
    yield identity
    for name in names:
        with suppress(DomainError):  # it is no name at all, or not ours
            identity.delete_realm(name, MARKER)


@pytest.fixture(scope="module")
def credential():
    return hash_password(PASSWORD)


@pytest.fixture
def make_realm(credential):
    """Return a function that makes the representation of an organization's realm."""

    def make(*, realm=None, marker=MARKER, admin_id=None):
        return template.users_realm(
            realm=realm or str(uuid.uuid4()),
            display_name="Acme Ltd",
            marker=marker,
            admin={
                "id": admin_id or str(uuid.uuid4()),
                "email": "Ada@Acme.example",
                "first_name": "Ada",
                "last_name": "Acme",
                "credential": credential,
            },
        )

    return make


def make_service_realm(**secrets):
    realm = str(uuid.uuid4())
    return template.service_account_realm(realm=realm, marker=MARKER, secrets=secrets)


def test_ensure_realm_creates_an_enabled_realm_with_the_marker(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) == {"enabled": True, "marker": MARKER}


def test_ensure_realm_twice_leaves_it_as_it_is(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    keys = identity.jwks(realm["realm"])
    identity.set_realm_enabled(realm["realm"], False)
    identity.ensure_realm(realm | {"displayName": "Other"})
    assert identity.find_realm(realm["realm"])["enabled"] is False
    assert identity.jwks(realm["realm"]) == keys


def test_ensure_realm_with_other_marker_is_a_conflict_and_touches_nothing(
    identity, make_realm
):
    realm = make_realm()
    identity.ensure_realm(realm)
    foreign = make_realm(realm=realm["realm"], marker="installation-2")
    with pytest.raises(RealmConflict, match="not touched") as refusal:
        identity.ensure_realm(foreign)
    assert refusal.value.code == "realm_conflict"
    assert identity.find_realm(realm["realm"])["marker"] == MARKER


def test_ensure_realm_from_many_threads_makes_one(identity, make_realm):
    realm = make_realm()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(identity.ensure_realm, [realm] * 6))
    assert identity.find_realm(realm["realm"])["marker"] == MARKER
    assert any(key["use"] == "sig" for key in identity.jwks(realm["realm"])["keys"])


def test_ensure_realm_without_marker_is_rejected(identity, make_realm):
    realm = make_realm() | {"attributes": {}}
    with pytest.raises(Rejected, match="marker"):
        identity.ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) is None


@pytest.mark.parametrize(
    "name",
    ["Bad Name!", "a/b", "", "..", "a%2fb", "x/../master", "é", "a\x00b", "x" * 300]
    + ["AC38A7A4-6B3D-4D5E-8C61-7B4D6A2C9F10", None, 5],
)
def test_malformed_realm_name_is_rejected_everywhere(identity, make_realm, name):
    for call in (
        lambda: identity.ensure_realm(make_realm() | {"realm": name}),
        lambda: identity.find_realm(name),
        lambda: identity.set_realm_enabled(name, True),
        lambda: identity.delete_realm(name, MARKER),
        lambda: identity.client_secret(name, "flowx-admin-sa"),
        lambda: identity.jwks(name),
    ):
        with pytest.raises(Rejected, match="realm name"):
            call()


def _platform_client(realm):
    return realm["clients"][-1]


def _admin(realm):
    return realm["users"][0]


FLAWS = {
    "unknown field": lambda r: r.update(nonsense=1),
    "field of wrong type": lambda r: r.update(enabled="maybe"),
    "number for a flag": lambda r: r.update(enabled=1),
    "negative lifespan": lambda r: r.update(accessTokenLifespan=-5),
    "client twice": lambda r: r["clients"].append(_platform_client(r)),
    "client without id": lambda r: _platform_client(r).pop("clientId"),
    "client with unknown field": lambda r: _platform_client(r).update(nonsense=1),
    "client with unknown scope": lambda r: _platform_client(r).update(
        defaultClientScopes=["nowhere"]
    ),
    "script redirect": lambda r: _platform_client(r).update(
        redirectUris=["javascript:alert(1)"]
    ),
    "redirect with fragment": lambda r: _platform_client(r).update(
        redirectUris=["https://acme.example/#top"]
    ),
    "redirect with space": lambda r: _platform_client(r).update(
        redirectUris=["not a uri"]
    ),
    "redirect that is no text": lambda r: _platform_client(r).update(redirectUris=[7]),
    "user twice": lambda r: r["users"].append({**_admin(r), "id": str(uuid.uuid4())}),
    "user without name": lambda r: _admin(r).pop("username"),
    "user with malformed id": lambda r: _admin(r).update(id="7"),
    "user with malformed e-mail": lambda r: _admin(r).update(email="ada"),
    "user with unknown role": lambda r: _admin(r)["realmRoles"].append("nowhere"),
    "user with NUL": lambda r: _admin(r).update(lastName="A\x00"),
    "user with half a character": lambda r: _admin(r).update(lastName="A\ud800"),
    "user with endless name": lambda r: _admin(r).update(lastName="A" * 256),
    "plain password": lambda r: _admin(r).update(
        credentials=[{"type": "password", "value": PASSWORD}]
    ),
    "unreadable credential": lambda r: _admin(r)["credentials"][0].update(
        credentialData="{"
    ),
    "role twice": lambda r: r["roles"]["realm"].append({"name": "org_admin"}),
    "role with unknown composite": lambda r: r["roles"]["realm"].append(
        {"name": "x", "composites": {"realm": ["nowhere"]}}
    ),
    "scope twice": lambda r: r["clientScopes"].append(r["clientScopes"][0]),
    "unknown default scope": lambda r: r["defaultDefaultClientScopes"].append("x"),
    "mapper without kind": lambda r: r["clientScopes"][0]["protocolMappers"].append(
        {"name": "x", "protocol": "openid-connect"}
    ),
    "service account without client": lambda r: r["users"].append(
        {"username": "service-account-x", "serviceAccountClientId": "x"}
    ),
    "clients that are no list": lambda r: r.update(clients={}),
    "client that is no object": lambda r: r["clients"].append("x"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_representation_is_rejected_as_a_whole(identity, make_realm, flaw):
    realm = copy.deepcopy(make_realm())
    FLAWS[flaw](realm)
    with pytest.raises(Rejected):
        identity.ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) is None


def test_user_id_of_another_realm_is_rejected_as_a_whole(identity, make_realm):
    """As Keycloak: 409, which does not mean that the realm exists."""
    taken = str(uuid.uuid4())
    identity.ensure_realm(make_realm(admin_id=taken))
    realm = make_realm(admin_id=taken)
    with pytest.raises(Rejected):
        identity.ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) is None


def test_set_realm_enabled_goes_both_ways_and_repeats(identity, make_realm):
    name = make_realm()["realm"]
    identity.ensure_realm(make_realm(realm=name))
    for enabled in (False, False, True, True):
        identity.set_realm_enabled(name, enabled)
        assert identity.find_realm(name) == {"enabled": enabled, "marker": MARKER}


def test_set_realm_enabled_without_realm_is_rejected(identity):
    with pytest.raises(Rejected):
        identity.set_realm_enabled(str(uuid.uuid4()), True)


def test_disabled_realm_still_lists_its_keys(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    identity.set_realm_enabled(realm["realm"], False)
    assert identity.jwks(realm["realm"])["keys"]


def test_delete_realm_takes_everything_and_repeats(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    identity.delete_realm(realm["realm"], MARKER)
    identity.delete_realm(realm["realm"], MARKER)
    assert identity.find_realm(realm["realm"]) is None
    identity.ensure_realm(realm)  # users and clients left behind would be in the way


def test_delete_realm_with_other_marker_is_a_conflict(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    with pytest.raises(RealmConflict):
        identity.delete_realm(realm["realm"], "installation-2")
    assert identity.find_realm(realm["realm"]) is not None


def test_find_realm_without_realm_is_none(identity):
    assert identity.find_realm(str(uuid.uuid4())) is None


def test_client_secret_is_the_given_one_or_a_strong_one(identity):
    realm = make_service_realm(**{"flowx-license-sa": "given"})
    identity.ensure_realm(realm)
    name = realm["realm"]
    assert identity.client_secret(name, "flowx-license-sa") == "given"
    made = identity.client_secret(name, "flowx-admin-sa")
    assert len(made) >= 32
    assert made != identity.client_secret(name, "flowx-cms-core-sa")
    assert made == identity.client_secret(name, "flowx-admin-sa")


def test_client_secret_of_public_or_unknown_client_is_rejected(identity, make_realm):
    realm = make_realm()
    identity.ensure_realm(realm)
    for client in (template.PLATFORM_CLIENT, "nobody", "x\x00"):
        with pytest.raises(Rejected):
            identity.client_secret(realm["realm"], client)


def test_jwks_holds_public_keys_of_this_realm_only(identity, make_realm):
    names = [make_realm()["realm"] for _ in range(2)]
    for name in names:
        identity.ensure_realm(make_realm(realm=name))
    ids = []
    for name in names:
        signing = [k for k in identity.jwks(name)["keys"] if k["use"] == "sig"]
        assert all("d" not in key and key["alg"] == "RS256" for key in signing)
        ids += [key["kid"] for key in signing]
    assert len(set(ids)) == len(ids) >= 2


def test_jwks_without_realm_is_rejected(identity):
    with pytest.raises(Rejected):
        identity.jwks(str(uuid.uuid4()))


def test_ping_answers(identity):
    assert identity.ping() is None


def test_representation_is_plain_json(make_realm):
    """What is sent to a provider is what is checked here."""
    for realm in (make_realm(), make_service_realm()):
        assert json.loads(json.dumps(realm)) == realm
