"""
The five real services on this machine, without containers: for tests and trials.

``python -m deploy.services up`` from the root of the repository starts them.
"""
