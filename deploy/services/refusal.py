"""Why the services cannot be had."""


class Refusal(Exception):
    """One sentence or more for people: what failed, and what to do."""
