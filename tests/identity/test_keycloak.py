"""What a real Keycloak does with our realms, and what becomes of it."""

import hmac
import os
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest
import requests
from rest_framework.exceptions import AuthenticationFailed

from orgmanager.authentication import BearerAuthentication
from orgmanager.errors import DomainError, Rejected, Unavailable
from orgmanager.identity import addresses, template
from orgmanager.identity.backends import keycloak
from orgmanager.identity.exceptions import RealmConflict
from orgmanager.identity.passwords import hash_password
from orgmanager.realm_keys import RETRY_INTERVAL, RealmKeys, UnknownKey
from tests.real_services import Administrator

pytestmark = pytest.mark.services

PASSWORD = "Correct-Horse-7"
MARKER = "installation-1"
SECRET = "the-secret-of-the-service-account"
TIMEOUT = 30  # seconds; a busy machine is no reason to fail


def is_known(organization_id):
    return True


@pytest.fixture
def url(settings):
    """Return the address of the test Keycloak, and let everything look there."""
    if not (url := os.environ.get("TEST_KEYCLOAK_URL")):
        pytest.skip("TEST_KEYCLOAK_URL is not set; make test starts a Keycloak.")
    settings.IDENTITY_BASE_URL = url
    settings.ISSUER_PATTERN = f"{url}/realms/{addresses.PLACEHOLDER}"
    settings.REALM_LOOKUP = f"{__name__}.is_known"
    return url


@pytest.fixture
def make_identity(url, settings):
    """Return a function that makes a backend; ``settings.IDENTITY`` is the first."""

    def make(**options):
        given = {
            "server_url": url,
            "provisioning_realm": "master",
            "provisioning_client_id": os.environ["TEST_KEYCLOAK_CLIENT_ID"],
            "provisioning_client_secret": os.environ["TEST_KEYCLOAK_CLIENT_SECRET"],
            "service_account_secret": SECRET,
            "timeout": TIMEOUT,
        }
        backend = "orgmanager.identity.backends.keycloak.Identity"
        if "path" in settings.IDENTITY:
            settings.IDENTITY = {"BACKEND": backend, **given}
        return keycloak.Identity(**given | options)

    return make


@pytest.fixture
def identity(make_identity):
    return make_identity()


@pytest.fixture
def administrator(url):
    """Return a function that calls the admin API as Keycloak's administrator."""
    return Administrator().call


@pytest.fixture
def make_account(administrator):
    """Return a function that makes another client like the provisioning one."""
    made = []

    def make(*, role="create-realm", is_lightweight=True):
        name = f"provisioning-{uuid.uuid4()}"
        lightweight = {keycloak.LIGHTWEIGHT: str(is_lightweight).lower()}
        client = {
            "clientId": name,
            "secret": "given",
            "serviceAccountsEnabled": True,
            "attributes": lightweight,
        }
        clients = "/realms/master/clients"
        administrator("POST", clients, client)
        (client,) = administrator("GET", f"{clients}?clientId={name}")
        made.append(client["id"])
        if role:
            path = f"{clients}/{client['id']}/service-account-user"
            user = administrator("GET", path)["id"]
            administrator(
                "POST",
                f"/realms/master/users/{user}/role-mappings/realm",
                [administrator("GET", f"/realms/master/roles/{role}")],
            )
        return {"provisioning_client_id": name, "provisioning_client_secret": "given"}

    yield make
    for key in made:
        administrator("DELETE", f"/realms/master/clients/{key}")


@pytest.fixture(scope="module")
def credential():
    return hash_password(PASSWORD)


@pytest.fixture
def make_realm(credential, administrator):
    """Return a function that makes a representation; what came of it is deleted."""
    names = []

    def make():
        name = str(uuid.uuid4())
        names.append(name)
        admin = {
            "id": str(uuid.uuid4()),
            "email": "Ada@Acme.example",
            "first_name": "Ada",
            "last_name": "Acme",
            "credential": credential,
        }
        return template.users_realm(
            realm=name, display_name="Acme", marker=MARKER, admin=admin
        )

    yield make
    for name in names:
        # It may have been deleted, or never made.
        administrator("DELETE", f"/realms/{name}", accept=(204, 404))


@pytest.fixture
def realm(identity, make_realm):
    """Return a realm that stands, as its representation."""
    realm = make_realm()
    identity.ensure_realm(realm)
    return realm


@pytest.fixture
def make_proxy(url):
    """
    Return a function that puts something between us and Keycloak.

    ``spoils(request)`` gets the first line of each call and returns "" for letting
    it through, "answer" for cutting the line before the answer comes back, or
    "request" for cutting it before Keycloak hears of it. What was asked is in
    ``requests``, the address is ``url``.
    """
    listeners = []
    host, port = url.removeprefix("http://").split("/")[0].split(":")

    def make(spoils=lambda request: ""):
        seen = []
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve(client):
            with client, socket.create_connection((host, int(port))) as server:
                data = client.recv(65536)
                seen.append(data.split(b"\r\n")[0].decode())
                fault = spoils(seen[-1])
                if fault == "request":
                    return
                pump = threading.Thread(target=forward, args=[client, server])
                server.sendall(data)
                pump.start()
                if fault == "answer":
                    server.recv(1)  # Keycloak has done its work
                else:
                    forward(server, client)
                client.shutdown(socket.SHUT_RDWR)

        def accept():
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=[client], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return SimpleNamespace(
            url=url.replace(f"http://{host}:{port}", address), requests=seen
        )

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def forward(source, target):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def is_creation(request):
    return request.startswith("POST ") and request.endswith("/admin/realms HTTP/1.1")


def post(address, form):
    return requests.post(address, data=form, timeout=TIMEOUT)


def sign_in(realm, **form):
    """Return what the token endpoint says to the realm's first administrator."""
    given = {
        "grant_type": "password",
        "client_id": template.PLATFORM_CLIENT,
        "username": realm["users"][0]["email"],
        "password": PASSWORD,
        "scope": "openid",
    }
    return post(addresses.token_endpoint(realm["realm"]), given | form).json()


def token_of_our_client(realm):
    secret = hmac.new(SECRET.encode(), realm["realm"].encode(), "sha256").hexdigest()
    form = {
        "grant_type": "client_credentials",
        "client_id": keycloak.REALM_CLIENT,
        "client_secret": secret,
    }
    return post(addresses.token_endpoint(realm["realm"]), form).json()["access_token"]


def principal(token):
    request = SimpleNamespace(META={"HTTP_AUTHORIZATION": f"Bearer {token}"})
    return BearerAuthentication().authenticate(request)[0]


# --- Tokens ------------------------------------------------------------------


def test_token_of_the_first_administrator_is_accepted(realm):
    """With the audience, which Keycloak gives no public client by itself."""
    found = principal(sign_in(realm)["access_token"])
    assert found.kind == "user"
    assert found.subject == realm["users"][0]["id"]
    assert found.organization_id == realm["realm"]
    assert template.ADMIN_ROLE in found.roles


def test_token_of_a_service_account_is_accepted(identity, make_realm, settings):
    name = make_realm()["realm"]
    settings.SERVICE_ACCOUNT_REALM = name
    client = settings.SERVICE_ACCOUNT_CLIENT_ID
    identity.ensure_realm(
        template.service_account_realm(
            realm=name, marker=MARKER, secrets={client: "chosen"}
        )
    )
    form = {"grant_type": "client_credentials", "client_id": client}
    answer = post(addresses.token_endpoint(name), form | {"client_secret": "chosen"})
    found = principal(answer.json()["access_token"])
    assert (found.kind, found.client_id) == ("service_account", client)


def test_token_of_our_client_in_a_realm_is_good_for_keycloak_alone(realm):
    with pytest.raises(AuthenticationFailed):
        principal(token_of_our_client(realm))


def test_our_client_in_a_realm_has_the_roles_it_needs_and_no_others(
    realm, administrator
):
    path = f"/realms/{realm['realm']}/clients"
    (client,) = administrator("GET", f"{path}?clientId={keycloak.REALM_CLIENT}")
    assert client["attributes"][keycloak.LIGHTWEIGHT] == "true"
    assert client["defaultClientScopes"] == client["optionalClientScopes"] == []
    user = administrator("GET", f"{path}/{client['id']}/service-account-user")["id"]
    roles = administrator("GET", f"/realms/{realm['realm']}/users/{user}/role-mappings")
    assert roles.keys() == {"clientMappings"}
    (mappings,) = roles["clientMappings"].values()
    assert mappings["client"] == "realm-management"
    names = {role["name"] for role in mappings["mappings"]}
    assert names == {"manage-realm", "manage-users", "view-clients"}


def test_disabled_realm_refuses_passwords_and_ends_sessions(identity, realm):
    signed_in = sign_in(realm)
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": signed_in["refresh_token"],
    }
    assert "access_token" in (renewed := sign_in(realm, **refresh))
    refresh["refresh_token"] = renewed["refresh_token"]
    identity.set_realm_enabled(realm["realm"], False)
    assert sign_in(realm)["error_description"] == "Realm not enabled"
    identity.set_realm_enabled(realm["realm"], True)
    assert sign_in(realm, **refresh)["error"] == "invalid_grant"
    assert "access_token" in sign_in(realm)


def test_new_key_is_seen_after_the_retry_interval(identity, realm, administrator):
    now = 1_000.0
    keys = RealmKeys(identity.jwks, clock=lambda: now)
    name = realm["realm"]
    keys.find(name, signing_key(identity, name))
    administrator(
        "POST",
        f"/realms/{name}/components",
        {
            "name": "newer",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"]},
        },
    )
    new = signing_key(identity, name)
    with pytest.raises(UnknownKey):
        keys.find(name, new)
    now += RETRY_INTERVAL
    assert keys.find(name, new).key_id == new


def signing_key(identity, name):
    keys = identity.jwks(name)["keys"]
    return next(key["kid"] for key in keys if key["use"] == "sig")


# --- Creation ----------------------------------------------------------------


def test_creation_whose_answer_was_lost_is_done(make_identity, make_proxy, make_realm):
    proxy = make_proxy(lambda request: "answer" if is_creation(request) else "")
    realm, identity = make_realm(), make_identity(server_url=proxy.url)
    identity.ensure_realm(realm)
    assert len(list(filter(is_creation, proxy.requests))) == 1
    assert make_identity().find_realm(realm["realm"])["marker"] == MARKER


def test_creation_that_was_never_heard_of_is_unavailable_and_can_be_repeated(
    make_identity, make_proxy, make_realm
):
    proxy = make_proxy(lambda request: "request" if is_creation(request) else "")
    realm, identity = make_realm(), make_identity()
    with pytest.raises(Unavailable, match="create realm"):
        make_identity(server_url=proxy.url).ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) is None
    identity.ensure_realm(realm)


def test_creation_that_keycloak_finds_malformed_is_rejected(identity, make_realm):
    """Fails when any answer but 201 passes for a realm that is there."""
    realm = make_realm() | {"passwordPolicy": "nonsense(1)"}
    with pytest.raises(Rejected, match="Password policy not found"):
        identity.ensure_realm(realm)
    assert identity.find_realm(realm["realm"]) is None


def test_creation_from_many_at_once_is_one_call(make_identity, make_proxy, make_realm):
    proxy, realm = make_proxy(), make_realm()
    identities = [make_identity(server_url=proxy.url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda identity: identity.ensure_realm(realm), identities))
    assert len(list(filter(is_creation, proxy.requests))) == 1


def test_foreign_realm_is_not_touched(identity, make_realm, administrator):
    realm = make_realm()
    name = realm["realm"]
    administrator("POST", "/realms", {"realm": name, "enabled": True})
    before = everything(administrator, name)
    for call in (
        lambda: identity.ensure_realm(realm),
        lambda: identity.delete_realm(name, MARKER),
    ):
        with pytest.raises(RealmConflict, match="not touched"):
            call()
    for call in (
        lambda: identity.set_realm_enabled(name, False),
        lambda: identity.client_secret(name, "account"),
    ):
        with pytest.raises(DomainError):
            call()
    assert identity.find_realm(name) == {"enabled": True, "marker": None}
    assert everything(administrator, name) == before


def everything(administrator, name):
    """Return all that an export of the realm holds."""
    what = "exportClients=true&exportGroupsAndRoles=true"
    return administrator("POST", f"/realms/{name}/partial-export?{what}")


# --- Accounts ----------------------------------------------------------------


def test_account_without_the_role_may_not_create_and_is_told_which(
    make_identity, make_account, make_realm
):
    identity = make_identity(**make_account(role=None))
    for call in (
        identity.check_provisioning,
        lambda: identity.ensure_realm(make_realm()),
    ):
        with pytest.raises(Unavailable, match="the role create-realm"):
            call()


def test_account_with_the_role_may_create(identity):
    assert identity.check_provisioning() is None


def test_account_whose_token_lists_its_rights_enables_the_realm_it_made(
    make_identity, make_account, make_realm, administrator
):
    """Also with a token from before the creation: Keycloak looks up what it may."""
    identity = make_identity(**make_account(is_lightweight=False))
    identity.check_provisioning()  # from here on it has a token
    realm = make_realm()
    identity.ensure_realm(realm)
    administrator("PUT", f"/realms/{realm['realm']}", {"enabled": False})
    assert identity.find_realm(realm["realm"]) == {"enabled": False, "marker": MARKER}
    identity.set_realm_enabled(realm["realm"], True)
    assert identity.find_realm(realm["realm"])["enabled"]


def test_realm_made_with_another_account_is_still_ours(
    make_identity, make_account, realm
):
    identity = make_identity(**make_account())
    identity.ensure_realm(realm)
    identity.set_realm_enabled(realm["realm"], False)
    with pytest.raises(Unavailable, match="A disabled realm can only be changed by"):
        make_identity(**make_account()).set_realm_enabled(realm["realm"], True)


def test_realm_made_with_another_secret_is_looked_after_by_its_creator(
    make_identity, realm
):
    identity = make_identity(service_account_secret="the-next-secret")
    identity.ensure_realm(realm)
    for enabled in (False, True):
        identity.set_realm_enabled(realm["realm"], enabled)
    identity.delete_realm(realm["realm"], MARKER)
    assert identity.find_realm(realm["realm"]) is None


def test_deleted_realm_leaves_no_rights_behind(identity, realm, administrator):
    """What a realm leaves in the master realm makes every later one slower."""
    client = f"/realms/master/clients?clientId={realm['realm']}-realm"
    assert administrator("GET", client)
    identity.set_realm_enabled(realm["realm"], False)
    identity.delete_realm(realm["realm"], MARKER)
    assert administrator("GET", client) == []
