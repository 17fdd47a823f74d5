import signal

from django.core.management.base import BaseCommand

from orgmanager.outbox.worker import Worker


class Command(BaseCommand):
    help = (
        "Deliver events, run work orders, read incoming messages and keep "
        "schedules, until SIGTERM or Ctrl-C. Any number may run."
    )

    def handle(self, **options):
        worker = Worker()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.start()
        self.stdout.write("Worker started.")
        worker.join()
        self.stdout.write("Worker stopped.")
