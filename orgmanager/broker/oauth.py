"""Tokens for Kafka's OAUTHBEARER, from a token endpoint by client credentials."""

import time

import requests

from ..errors import Unavailable


class TokenSource:
    """Asks for a new token at each call; Kafka's client asks before one expires."""

    def __init__(self, *, client_id, client_secret, token_endpoint, timeout=5):
        """``timeout``: seconds to connect and to wait for an answer, each."""
        self._client = (client_id, client_secret)
        self._token_endpoint = token_endpoint
        self._timeout = timeout

    def fetch(self):
        """
        Return a token and when it expires.

        Shapes: (str, float); the time is in seconds since 1970.
        Raises: Unavailable, without what was sent or received: it holds secrets.
        Source: RFC 6749, section 4.4.
        """
        try:
            response = requests.post(
                self._token_endpoint,
                data={"grant_type": "client_credentials"},
                auth=self._client,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Unavailable(
                f"The token endpoint {self._token_endpoint} did not answer: "
                f"{type(error).__name__}. Check KAFKA_OAUTH_TOKEN_ENDPOINT_URI."
            ) from error
        if response.status_code != 200:
            raise Unavailable(
                f"The token endpoint {self._token_endpoint} answered "
                f"{response.status_code}. Check KAFKA_OAUTH_CLIENT_ID and "
                "KAFKA_OAUTH_CLIENT_SECRET."
            )
        try:
            fields = response.json()
            return str(fields["access_token"]), time.time() + float(
                fields["expires_in"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"The token endpoint {self._token_endpoint} gave no token with an "
                "expiry."
            ) from error
