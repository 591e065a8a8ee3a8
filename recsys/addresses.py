"""Addresses that may hold a password: taken apart, checked, and shown without it."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, Secret


class SecretUrl(Secret[str]):
    """An address that may hold a password: `str()` shows scheme, host, port and path alone."""

    def _display(self) -> str:
        scheme, slashes, rest = self.get_secret_value().partition("://")
        if not slashes:
            word, colon, _ = scheme.partition(":")
            return f"{word}:..." if colon else word
        return f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}"  # whatever stands ahead of an @ may be one

    def hidden_in(self, words: str) -> str:
        """What somebody says of the address, without its user, its password or a part of it."""
        user = self.get_secret_value().partition("://")[2].rpartition("@")[0]
        password = user.partition(":")[2]
        for secret in (user, password, unquote(password), *re.split("[:/?#]", password)):
            words = words.replace(secret, "...") if secret else words
        return words


def split(given: str, takes: str) -> SplitResult:
    """An address taken apart. Raises ValueError, which holds no word of it."""
    try:
        url = urlsplit(given)
    except ValueError:
        raise ValueError(takes) from None
    if "@" in f"{url.path}{url.query}{url.fragment}":
        raise ValueError("write the characters / ? # @ of a password as %2F %3F %23 %40")
    return url


def address(*schemes: str, takes: str = "", word: str | None = None) -> AfterValidator:
    """A URL of one of the schemes, with a host; or the one word."""
    takes = takes or f"give an address such as {schemes[0]}://host:port"

    def check(given: SecretUrl) -> SecretUrl:
        if given.get_secret_value() == word:
            return given
        url = split(given.get_secret_value(), takes)
        hosts = url.netloc.rpartition("@")[2].split(",") if url.scheme.endswith("+cluster") else [url.netloc]
        try:
            named = all(urlsplit(f"//{host}").hostname and urlsplit(f"//{host}").port != 0 for host in hosts)
        except ValueError:
            named = False
        if url.scheme not in schemes or not named:
            raise ValueError(takes)
        if "redis" in url.scheme and not re.fullmatch(r"/?\d*", url.path):
            raise ValueError("behind the host comes a number, that of the database")
        return given

    return AfterValidator(check)
