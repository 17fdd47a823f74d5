"""Refusals about operators: each with the sentence that the person reads."""

from ..errors import Conflict, Forbidden, Missing


class UsernameTaken(Conflict):
    code = "username_taken"


class OwnAccount(Conflict):
    code = "own_account"


class OperatorNotFound(Missing):
    code = "operator_not_found"


class SignInRefused(Forbidden):
    """Nobody is signed in; ``asks_anew`` when another person might be let in."""

    code = "sign_in_refused"

    def __init__(self, message, *, asks_anew=False):
        super().__init__(message)
        self.asks_anew = asks_anew
