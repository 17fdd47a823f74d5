"""The line that the setup guide tells people to look for."""

import logging

from django.core.management import call_command

LINE = "Database migrations: Update has been successful"


def test_migrate_logs_that_the_update_was_successful(db, caplog):
    with caplog.at_level(logging.INFO):
        call_command("migrate", verbosity=0)
    assert [r.getMessage() for r in caplog.records].count(LINE) == 1


def test_migrate_of_a_part_or_for_show_logs_no_such_thing(db, caplog):
    with caplog.at_level(logging.INFO):
        call_command("migrate", "outbox", verbosity=0)
        call_command("migrate", plan=True, verbosity=0)
        call_command("migrate", check_unapplied=True, verbosity=0)
    assert LINE not in [r.getMessage() for r in caplog.records]
