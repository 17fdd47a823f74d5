"""Django's backend for PostgreSQL, which waits for no server that says nothing."""
