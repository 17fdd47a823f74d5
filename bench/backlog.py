"""A large backlog in moments, in the rows that record() would write one by one."""

from django.db import connection

COPY_EVENTS = """
INSERT INTO outbox_event (event_id, stream_id, epoch, sequence, organization_id, type,
    subject, actor, reason, data, value, headers, recorded_at)
SELECT copy, stream_id, epoch, n, organization_id, type, subject, actor, reason, data,
    convert_to(replace(replace(convert_from(value, 'UTF8'),
        event_id::text, copy::text),
        '"sequence":"1"', '"sequence":"' || n || '"'), 'UTF8'),
    headers || jsonb_build_object('event-id', copy::text, 'sequence', n::text),
    recorded_at
FROM outbox_event, generate_series(2, %s) n,
    LATERAL (SELECT md5(outbox_event.id || '-' || n)::uuid AS copy) ids
WHERE outbox_event.id = ANY(%s)
ORDER BY n
"""

OWE_COPIES = """
INSERT INTO outbox_delivery (event_id, stream_id, shard, size, skip_reason)
SELECT e.id, e.stream_id, s.shard, length(e.value), ''
FROM outbox_event e JOIN outbox_stream s ON s.id = e.stream_id
WHERE e.id <> ALL(%s)
"""


def multiply(events, times):
    """Make ``times`` events of each of ``events``, the first of their streams."""
    first = [event.pk for event in events]
    with connection.cursor() as cursor:
        cursor.execute(COPY_EVENTS, [times, first])
        cursor.execute("UPDATE outbox_stream SET last_sequence = %s", [times])
        cursor.execute(OWE_COPIES, [first])
        cursor.execute("ANALYZE")
