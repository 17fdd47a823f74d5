import json

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Max, Min

from orgmanager.outbox.models import Event, Stream


class Command(BaseCommand):
    help = (
        "Look for gaps and repetitions in the numbers of recorded events. "
        "Exit code 1 if there are any."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, **options):
        faults = find_faults()
        report = {
            "streams": Stream.objects.count(),
            "events": Event.objects.count(),
            "faults": faults,
        }
        if options["json"]:
            self.stdout.write(json.dumps(report))
        else:
            self.stdout.write(
                f"{report['events']} events in {report['streams']} streams, "
                f"{len(faults)} faults."
            )
            for fault in faults:
                self.stdout.write(f"  {fault['stream']}: {fault['fault']}")
        if faults:
            raise CommandError("Some streams have faults.", returncode=1)


def find_faults():
    """
    Return what is wrong with the numbers of each stream.

    The oldest events may have been pruned, so a stream need not begin at 1.

    Shapes: [{"stream": str, "fault": str}].
    """
    faults = []
    rows = Event.objects.order_by().values("stream", "epoch")
    rows = rows.annotate(count=Count("pk"), first=Min("sequence"), last=Max("sequence"))
    last = {}
    for row in rows:
        span = row["last"] - row["first"] + 1
        if row["count"] != span:
            faults.append(
                _fault(row["stream"], f"{span - row['count']} numbers are missing")
            )
        key = (row["epoch"], row["last"])
        last[row["stream"]] = max(last.get(row["stream"], key), key)
    for stream in Stream.objects.iterator():
        newest = last.get(stream.pk)
        if newest and newest != (stream.epoch, stream.last_sequence):
            faults.append(
                _fault(stream.pk, f"ends at {newest}, its row says otherwise")
            )
    return faults


def _fault(stream_id, text):
    return {"stream": str(Stream.objects.get(pk=stream_id)), "fault": text}
