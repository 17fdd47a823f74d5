"""The API's description: the OpenAPI document, and a page to read it."""

from functools import cache

from django.contrib.staticfiles import finders
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer2

from . import schema  # noqa: F401  registers what the document says beside the views

RENDERERS = {"json": OpenApiJsonRenderer2, "yaml": OpenApiYamlRenderer2}
FORMATS = {renderer.media_type: name for name, renderer in RENDERERS.items()}

SWAGGER = "drf_spectacular_sidecar/swagger-ui-dist"
ASSETS = {
    "swagger-ui.css": f"{SWAGGER}/swagger-ui.css",
    "swagger-ui-bundle.js": f"{SWAGGER}/swagger-ui-bundle.js",
    "favicon.png": f"{SWAGGER}/favicon-32x32.png",
    "docs.css": "orgmanager/docs.css",
    "docs.js": "orgmanager/docs.js",
}

# People paste tokens into this page: no script but our own may run there.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@require_safe
def document(request):
    """Return the OpenAPI document, as ``?format=`` or Accept says; JSON otherwise."""
    kind = request.GET.get("format")
    if kind not in RENDERERS:
        kind = FORMATS.get(request.get_preferred_type(list(FORMATS)), "json")
    response = HttpResponse(_render(kind), content_type=RENDERERS[kind].media_type)
    response["Cache-Control"] = "public, max-age=60"
    response["Vary"] = "Accept"
    return response


@require_safe
def page(request):
    """Show the document. Every link is relative: a proxy may strip a prefix."""
    response = render(request, "docs.html")
    response["Content-Security-Policy"] = POLICY
    return response


@require_safe
def asset(request, name):
    """
    Return what the page is made of.

    Not below STATIC_URL, for an ingress may route nothing here but the API.
    """
    path = finders.find(ASSETS.get(name, "")) if name in ASSETS else None
    if path is None:
        raise Http404
    headers = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(open(path, "rb"), headers=headers)


@cache
def _render(kind):
    found = SchemaGenerator().get_schema(request=None, public=True)
    return RENDERERS[kind]().render(found, renderer_context={})
