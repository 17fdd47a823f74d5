"""
The console's door: pages that look, and actions that call operations.

No form of the console writes a row. What can be changed is changed by an
operation, which an action calls after it has asked.
"""

import json
import uuid
from operator import attrgetter

from django import forms
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ValidationError
from django.http import HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextareaWidget

from .errors import Conflict, DomainError

LONGEST_TEXT = 20_000  # characters of a value that a page shows
REFUSALS = (DomainError, ValidationError)


class ConfirmationForm(forms.Form):
    """
    What an action asks that needs nothing but a yes.

    ``target`` is what was shown when it asked, so that a late yes does not do to
    another thing what was meant for the one on the page.
    """

    target = forms.CharField(required=False, widget=forms.HiddenInput)


class ReasonForm(ConfirmationForm):
    """What an action asks that somebody may have to explain later."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        help_text=_("Kept in the history, with your name."),
        widget=UnfoldAdminTextareaWidget({"rows": 3, "autofocus": True}),
    )


class Changed(Conflict):
    code = "changed_meanwhile"


def operation_action(
    operation,
    *,
    label,
    explanation,
    done,
    icon,
    danger=False,
    asks_reason=False,
    target=attrgetter("pk"),
    about=str,
    when=None,
):
    """
    Return the admin action of the same name as ``operation``, which it calls.

    In ``actions_detail`` it asks first, for a reason if ``asks_reason``. In
    ``actions`` it takes many rows at once, which only fits without a reason.
    Nothing happens on GET, and a refusal becomes a message.

    Shapes: ``target(row)`` is the operation's argument, and ``about(row)`` what
    the page says of it; ``when(row)`` says whether the action is offered;
    ``done`` may contain {row}.
    """
    form_class = ReasonForm if asks_reason else ConfirmationForm

    def run(model_admin, request, queryset=None, object_id=None):
        actor = request.user.actor
        if queryset is not None:
            return model_admin.call_for_each(
                request, queryset, lambda row: operation(target(row), actor=actor)
            )
        row = model_admin.get_object(request, unquote(object_id))
        if row is None:
            return model_admin.redirect_from_missing(request, object_id)
        try:
            found = target(row)
            if request.method == "POST":
                form = form_class(request.POST)
            else:
                form = form_class(initial={"target": found})
            if not form.is_valid():
                page = {
                    "title": label,
                    "about": about(row),
                    "explanation": explanation,
                    "danger": danger,
                }
                return model_admin.ask(request, row, form, page)
            answers = form.cleaned_data
            if answers.pop("target") != str(found):
                raise Changed("It has changed meanwhile, so nothing was done.")
            operation(found, actor=actor, **answers)
        except REFUSALS as error:
            model_admin.message_user(request, sentence_of(error), messages.ERROR)
        else:
            text = done.format(row=row)
            model_admin.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(model_admin.url_of(row))

    run.__name__ = operation.__name__
    run = action(
        run,
        description=label,
        icon=icon,
        permissions=["operate"],
        variant=ActionVariant.DANGER if danger else ActionVariant.PRIMARY,
    )
    run.when = when
    return run


class OperationAdmin(ModelAdmin):
    """
    Pages that show rows, and act on them through operations.

    ``introduction`` says above a list what it is for. ``when_empty`` says what
    to do if there is nothing in it yet: (headline, sentence).
    """

    introduction = ""
    when_empty = (_("Nothing here yet"), "")
    list_before_template = "console/introduction.html"
    change_form_outer_after_template = "console/sections.html"
    list_per_page = 50
    list_disable_select_all = True
    list_filter_submit = True  # filters to type into have no other button
    show_facets = ShowFacets.NEVER  # a count per choice, on tables without end

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def has_operate_permission(self, request, obj=None):
        """Say whether the actions of these pages may be used."""
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(name)

    def get_sections(self, request, obj):
        """
        Return what stands below the fields of ``obj``.

        Shapes: [{"title", "text"?, "table"?: {"headers", "rows"}, "empty"?,
        "link"?: {"url", "title"}}].
        """
        return []

    def get_actions_detail(self, request, object_id):
        actions = super().get_actions_detail(request, object_id)
        row = self.get_object(request, unquote(object_id)) if actions else None
        return [each for each in actions if row and self.is_offered(each.method, row)]

    def is_offered(self, method, row):
        """Say whether an action makes sense for ``row`` as it is now."""
        when = getattr(method, "when", None)
        return when is None or when(row)

    def render_change_form(self, request, context, *args, obj=None, **kwargs):
        if obj is not None:
            context["sections"] = self.get_sections(request, obj)
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def url_of(self, row):
        """Return the address of the page that shows ``row``."""
        return reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_change",
            args=[quote(row.pk)],
        )

    def redirect_from_missing(self, request, object_id):
        """Say that the row is gone, on the front page."""
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)

    def ask(self, request, row, form, page):
        """
        Show what an action would do to ``row``, with ``form`` to go ahead.

        Shapes: ``row`` may be None; ``page`` is {"title", "about"?,
        "explanation", "danger"?}.
        """
        context = {
            **self.admin_site.each_context(request),
            **page,
            "form": form,
            "opts": self.opts,
            "original": row,
            "back_url": self.url_of(row) if row else list_url(self.model),
        }
        return TemplateResponse(request, "console/confirm.html", context)

    def call_for_each(self, request, rows, operation):
        """Call ``operation`` for each row; refusals do not stop the others."""
        count = 0
        for row in rows:
            try:
                operation(row)
                count += 1
            except REFUSALS as error:
                message = f"{row}: {sentence_of(error)}"
                self.message_user(request, message, messages.ERROR)
        if count:
            message = _("Done for {count} of {all}.")
            self.message_user(
                request, message.format(count=count, all=len(rows)), messages.SUCCESS
            )


# function(ids) -> {id: html}; the app that owns organizations says what they are
# called, because the kernel does not know that app.
_namers = []


def names_organizations(function):
    """Let ``function`` say what organizations are called; a decorator."""
    _namers.append(function)
    return function


def organization_names(ids):
    """Return {id: html} for those of ``ids`` that are known, in one query."""
    return {key: name for namer in _namers for key, name in namer(ids).items()}


class _NamedChangeList(ChangeList):
    """A list that knows what the organizations in it are called."""

    def get_results(self, request):
        super().get_results(request)
        find_id = self.model_admin.organization_id_of
        names = organization_names({find_id(row) for row in self.result_list})
        for row in self.result_list:
            row.organization_name = names.get(find_id(row))


class OwnedAdmin(OperationAdmin):
    """Pages of rows that carry the id of the organization they belong to."""

    organization_id_of = staticmethod(attrgetter("organization_id"))

    def get_changelist(self, request, **kwargs):
        return _NamedChangeList

    @display(description=_("organization"))
    def organization(self, row):
        key = self.organization_id_of(row)
        if not hasattr(row, "organization_name"):
            row.organization_name = organization_names({key}).get(key)
        return row.organization_name or str(key)


class OrganizationFilter(TextFilter):
    """Keep the rows of one organization, by its id."""

    title = _("organization id")
    parameter_name = "organization"

    def queryset(self, request, queryset):
        if not self.value():
            return queryset
        key = parse_uuid(self.value())
        return queryset.filter(organization_id=key) if key else queryset.none()


def parse_uuid(text):
    """Return the UUID that ``text`` spells, or None."""
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def sentence_of(error):
    """Return what a refusal says, as one text."""
    if isinstance(error, ValidationError):
        return " ".join(error.messages)
    return " ".join([str(error), *(each["detail"] for each in error.errors)])


def list_url(model, **filters):
    """Return the address of the list of ``model``, filtered."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return f"{url}?{query}" if query else url


def link_to(row, text=None):
    """Return a link to the page of ``row``."""
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    url = reverse(name, args=[quote(row.pk)])
    return format_html('<a href="{}" class="text-link">{}</a>', url, text or row)


def label(text, variant=""):
    """Return ``text`` as a coloured label: success, warning, danger, info or plain."""
    context = {"text": text, "variant": variant}
    return render_to_string("unfold/helpers/label.html", context)


def moment(at):
    """Return a time as people read it, with its age as a tooltip."""
    if at is None:
        return "-"
    is_future = at > timezone.now()
    age = f"in {timeuntil(at)}" if is_future else f"{timesince(at)} ago"
    return format_html(
        '<time class="whitespace-nowrap" datetime="{}" title="{}">{}</time>',
        at.isoformat(),
        age,
        f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}",
    )


def preformatted(text):
    """Return ``text`` as it is written, cut off where it gets too long to read."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}\n… {len(text) - LONGEST_TEXT} more characters"
    return render_to_string("console/preformatted.html", {"text": text})


def pretty(data):
    """Return JSON-able ``data``, indented."""
    return preformatted(json.dumps(data, indent=2, ensure_ascii=False, default=str))
