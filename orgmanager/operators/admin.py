"""The console's pages of the people who may sign in to it."""

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from ..console import (
    REFUSALS,
    OperationAdmin,
    label,
    moment,
    operation_action,
    sentence_of,
)
from . import admission, operations
from .models import Operator

# Every operator may do everything, so groups would only be in the way.
admin.site.unregister(Group)

NEW_PASSWORD = {"autocomplete": "new-password"}


class OperatorForm(forms.Form):
    """A new local operator."""

    username = forms.CharField(
        label=_("User name"),
        max_length=150,
        help_text=_("To sign in with, for example olga. It also signs the history."),
        widget=UnfoldAdminTextInputWidget({"autocomplete": "off", "autofocus": True}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=password_validators_help_text_html(),
        widget=UnfoldAdminPasswordWidget(NEW_PASSWORD),
    )
    password_again = forms.CharField(
        label=_("Password, again"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(NEW_PASSWORD),
    )

    def clean_password_again(self):
        given = self.cleaned_data
        if given.get("password") and given["password"] != given["password_again"]:
            raise ValidationError(_("The two passwords differ. Type both again."))
        return given["password_again"]


class PasswordForm(SetPasswordForm):
    """A new password for an operator who is there already."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget = UnfoldAdminPasswordWidget(NEW_PASSWORD)


@admin.register(Operator)
class OperatorAdmin(OperationAdmin):
    introduction = _(
        "Who may sign in to this console. Whoever signs in with the identity provider "
        "appears here the first time. Accounts with a password work even when it is "
        "down; keep at least one."
    )
    list_display = ["who", "kind", "email", "account", "seen"]
    search_fields = ["username", "email", "first_name", "last_name", "subject"]
    ordering = ["username"]
    fieldsets = [
        (None, {"fields": ["username", "kind", "account", "may_sign_in"]}),
        (_("Person"), {"fields": ["full_name", "email"]}),
        (_("Identity provider"), {"fields": ["issuer", "subject"]}),
        (_("Times"), {"fields": ["seen", "joined"]}),
    ]
    readonly_fields = [
        "kind",
        "account",
        "may_sign_in",
        "full_name",
        "issuer",
        "subject",
        "seen",
        "joined",
    ]
    actions_detail = ["change_password", "activate", "deactivate"]

    activate = operation_action(
        operations.activate,
        label=_("Activate"),
        explanation=_("They can sign in again and do everything in this console."),
        done=_("{row} may sign in."),
        icon="person_check",
        when=lambda row: not row.is_active,
    )
    deactivate = operation_action(
        operations.deactivate,
        label=_("Deactivate"),
        explanation=_(
            "They are signed out and cannot sign in any more, even if the identity "
            "provider would let them."
        ),
        done=_("{row} may not sign in any more."),
        icon="person_off",
        danger=True,
        when=lambda row: row.is_active,
    )

    def has_add_permission(self, request):
        return request.user.has_perm("operators.add_operator")

    @method_decorator(sensitive_post_parameters())
    def add_view(self, request, form_url="", extra_context=None):
        if not self.has_add_permission(request):
            raise PermissionDenied
        is_answer = request.method == "POST"
        form = OperatorForm(request.POST if is_answer else None)
        if is_answer and form.is_valid():
            try:
                operator = operations.create(
                    username=form.cleaned_data["username"],
                    password=form.cleaned_data["password"],
                    actor=request.user.actor,
                )
            except REFUSALS as error:
                form.add_error(None, sentence_of(error))
            else:
                text = _("{operator} can sign in now.").format(operator=operator)
                self.message_user(request, text, messages.SUCCESS)
                return HttpResponseRedirect(self.url_of(operator))
        explanation = _(
            "The new operator may do everything in this console. Nothing is sent to "
            "them: tell them the name and the password yourself."
        )
        page = {"title": _("Add operator"), "explanation": explanation}
        return self.ask(request, None, form, page)

    @action(
        description=_("Change password"),
        url_path="password",
        icon="key",
        permissions=["operate"],
    )
    @method_decorator(sensitive_post_parameters())
    def change_password(self, request, object_id):
        operator = self.get_object(request, unquote(object_id))
        if operator is None:
            return self.redirect_from_missing(request, object_id)
        if operator.issuer:
            text = _("{operator} signs in at the identity provider; no password here.")
            self.message_user(request, text.format(operator=operator), messages.ERROR)
            return HttpResponseRedirect(self.url_of(operator))
        is_answer = request.method == "POST"
        form = PasswordForm(operator, request.POST if is_answer else None)
        if is_answer and form.is_valid():
            form.save()
            self.log_change(request, operator, "Password changed.")
            update_session_auth_hash(request, operator)
            text = _("The password of {operator} is changed.").format(operator=operator)
            self.message_user(request, text, messages.SUCCESS)
            return HttpResponseRedirect(self.url_of(operator))
        explanation = _(
            "The old password stops working at once, and {operator} is signed out "
            "everywhere."
        ).format(operator=operator)
        page = {
            "title": _("Change password"),
            "about": operator,
            "explanation": explanation,
        }
        return self.ask(request, operator, form, page)

    change_password.when = lambda row: not row.issuer

    @display(description=_("operator"), ordering="username")
    def who(self, operator):
        return str(operator)

    @display(description=_("signs in with"))
    def kind(self, operator):
        if operator.issuer:
            return label(_("identity provider"), "info")
        return label(_("password"))

    @display(description=_("name"))
    def full_name(self, operator):
        return operator.get_full_name()

    @display(description=_("account"), ordering="is_active")
    def account(self, operator):
        if operator.is_active and operator.is_staff:
            return label(_("active"), "success")
        return label(_("deactivated"), "danger")

    @display(description=_("may sign in"))
    def may_sign_in(self, operator):
        if not (operator.is_active and operator.is_staff):
            return _("No, the account is deactivated.")
        if not operator.issuer:
            return _("Yes, with a password.")
        if not admission.is_admitted(operator):
            return _("No: they are no operator any more.")
        return _("Yes, as long as the identity provider lets them.")

    @display(description=_("last sign-in"), ordering="last_login")
    def seen(self, operator):
        return moment(operator.last_login)

    @display(description=_("since"))
    def joined(self, operator):
        return moment(operator.date_joined)
