from django.conf import settings as django_settings

from organizations import status
from orgmanager.outbox.models import WorkOrder


def test_first_run_gives_the_three_commands(client, db, settings):
    settings.PUBLIC_BASE_URL = "https://orgs.example.com"
    page = client.get("/")
    text = page.content.decode()
    assert page.status_code == 200
    assert "manage.py issue_registration_token" in text
    assert "curl -sS https://orgs.example.com/org/api/org/single" in text
    assert "manage.py sync_licence --organization acme" in text


def test_first_run_is_made_without_the_host_header(client, db):
    page = client.get("/", HTTP_HOST="evil.example")
    assert "evil.example" not in page.content.decode()


def test_first_run_with_a_real_licence_server_issues_nothing(client, db, settings):
    settings.LICENCE_SERVER = {
        "BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"
    }
    text = client.get("/").content.decode()
    assert "issue_registration_token" not in text
    assert "Set LICENSE_SERVER_URL" in text and "--licence-file" in text


def test_first_run_loads_nothing_from_elsewhere(client, db):
    text = client.get("/").content.decode()
    for part in ('src="http', 'href="http', "url(http"):
        assert part not in text


def test_first_run_while_registering_shows_steps_without_errors(
    client, make_organization
):
    """Fails when the page tells anybody the addresses of other systems."""
    make_organization(status="PENDING")
    WorkOrder.objects.filter(destination="users-realm").update(
        state="parked", error="Keycloak at http://10.0.0.1 refused."
    )
    text = client.get("/").content.decode()
    assert "Realm for users" in text and "stopped" in text
    assert "10.0.0.1" not in text and 'http-equiv="refresh"' in text


def test_first_run_once_registered_is_out_of_the_way(client, make_organization):
    make_organization()
    response = client.get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_first_run_of_many_organizations_is_never_shown(client, db, settings):
    settings.INSTALLATION_TYPE = "SAAS"
    status.answers.clear()
    assert client.get("/")["Location"] == "/admin/"


def test_first_run_tells_no_secret_and_takes_no_input(client, db):
    text = client.get("/").content.decode()
    assert django_settings.SECRET_KEY not in text
    assert django_settings.MASTER_KEY not in text
    assert client.post("/").status_code == 405
