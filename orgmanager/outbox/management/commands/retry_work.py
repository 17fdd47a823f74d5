import uuid

from orgmanager.commands import OperationCommand
from orgmanager.outbox import operations
from orgmanager.outbox.models import WorkOrder


class Command(OperationCommand):
    help = "Set the work orders going again that were refused for good."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument(
            "--organization", type=uuid.UUID, help="Id; default: of all organizations."
        )

    def handle(self, *, organization, actor, **options):
        orders = WorkOrder.objects.filter(state=WorkOrder.State.PARKED)
        if organization:
            orders = orders.filter(organization_id=organization)
        for order in orders:
            operations.retry_work(order.pk, actor=actor)
            self.stdout.write(f"{order} is due; it had stopped: {order.error}")
        if not orders:
            self.stdout.write("No work order has stopped.")
