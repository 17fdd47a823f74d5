"""What follows from a recorded event, inside its transaction."""

from django.dispatch import receiver

from .models import Delivery
from .signals import event_recorded
from .wakeup import announce


@receiver(event_recorded, dispatch_uid="outbox.owe_delivery")
def owe_delivery(sender, event, **kwargs):
    """Owe the event to the broker, unless only history keeps it."""
    if event.stream.topic:
        Delivery.objects.create(
            event=event,
            stream=event.stream,
            shard=event.stream.shard,
            size=len(event.value),
        )
        announce(event.stream.shard)
