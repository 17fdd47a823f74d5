"""What follows from a recorded event, inside its transaction."""

from django.dispatch import receiver

from orgmanager.outbox.models import WorkOrder
from orgmanager.outbox.signals import event_recorded

from .events import URGENT, WORK


@receiver(event_recorded, dispatch_uid="organizations.enqueue_work")
def enqueue_work(sender, event, **kwargs):
    """Enqueue work for the systems that events.WORK names for this type."""
    for destination in WORK.get(sender, ()):
        WorkOrder.objects.enqueue(
            destination,
            event.organization_id,
            organization_id=event.organization_id,
            urgent=sender in URGENT,
        )
