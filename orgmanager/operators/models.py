"""Who may sign in to the console."""

import uuid

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Operator(AbstractUser):
    """
    A person who signs in to the console.

    Either a local break-glass account with a password (``issuer`` is empty), or
    somebody whom an identity provider vouches for: then (issuer, subject) is
    the identity, never the e-mail address, which its owner can change. Their user
    name is the row's id: a name of their choosing could be somebody else's.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    subject = models.CharField(_("subject"), max_length=255, blank=True, editable=False)

    objects = UserManager()

    class Meta:
        verbose_name = _("operator")
        verbose_name_plural = _("operators")
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "subject"],
                condition=~Q(issuer=""),
                name="operators_operator_identity_unique",
            ),
        ]

    def __str__(self):
        if not self.issuer:
            return self.username
        return self.get_full_name() or self.email or self.subject

    @property
    def actor(self):
        """
        The name under which history keeps what this operator does.

        Ids only: events never carry the names of people whom a provider knows.
        """
        return f"operator:{self.subject if self.issuer else self.username}"
