"""The one signal of this project."""

from django.dispatch import Signal

# Sent by record() inside the transaction of the change, with ``event``. A
# receiver that raises aborts the change. Receivers do no I/O: they owe the
# event to the broker and enqueue work for other systems.
event_recorded = Signal()
