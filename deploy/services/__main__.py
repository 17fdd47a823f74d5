"""The command line: ``python -m deploy.services up|down|status|env|...``."""

import argparse
import sys

from . import variables
from .control import NAMES, Control
from .refusal import Refusal

COMMANDS = {
    "up": "start all, or the named ones, and wait until they are ready",
    "down": "stop all",
    "status": "say which are ready; exit code 1 unless all are",
    "env": "print the variables that let the project use them",
    "start": "start one again",
    "stop": "stop one in good order",
    "kill": "kill one",
    "pause": "freeze one",
    "resume": "let a frozen one go on",
    "wipe": "stop all and forget their data",
}


def main():
    parser = argparse.ArgumentParser(
        prog="python -m deploy.services",
        description="PostgreSQL, Redis, Kafka, Keycloak and SpiceDB on this machine.",
        epilog="\n".join(f"{name:8} {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    parser.add_argument("names", nargs="*", metavar="service", help=", ".join(NAMES))
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such service: {', '.join(unknown)}")
    if options.command in {"start", "stop", "kill", "pause", "resume"}:
        if not options.names:
            parser.error(f"{options.command} needs the name of a service")
    elif options.names and options.command != "up":
        parser.error(f"{options.command} takes no names")
    try:
        return _run(options.command, options.names)
    except Refusal as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What was started runs on until `down`.\n")
        return 130


def _run(command, names):
    control = Control(tell=_say)
    if command == "up":
        file = control.up(names or NAMES)
        _say(f"The variables are in {file}")
    elif command in {"down", "wipe"}:
        getattr(control, command)()
        _say("All services are stopped." if command == "down" else "All data is gone.")
    elif command == "status":
        return _print_status(control.status())
    elif command == "env":
        file = variables.path(control.state)
        if not file.exists():
            raise Refusal(f"There is no {file} yet. Start the services first: up.")
        sys.stdout.write(file.read_text())
    else:
        for name in names:
            getattr(control, command)(name)
    return 0


def _print_status(status):
    for name, (state, address) in status.items():
        _say(f"{name:18} {state:10} {address}")
    return int(any(state != "ready" for state, _ in status.values()))


def _say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
