"""One true line for each way in which the Hugging Face hub can fail.

The client's own errors run over several lines, and several of them look alike: a repository that
is not there, one whose terms nobody has accepted and a token that has expired all end a download.
Here the error, its HTTP response and what caused it are read for what the user can do.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

_STATUS = {500: "internal error", 502: "bad gateway", 503: "unavailable", 504: "gateway timeout"}
_FOLDER = "name a folder with the model's files instead"


def explain(error: BaseException, repository: str, file: str | None = None) -> str:
    """One line: what went wrong when the hub was asked for a repository, and what to do.

    Args:
        error: the client's, its HTTP library's or the system's.
        repository: OWNER/NAME.
        file: that was being fetched, where it is known.
    """
    what = repository if file is None else f"{file} of {repository}"
    for line in (_refusal, _http_status, _unreachable):
        if said := line(error, repository, what):
            return said
    return f"{what} cannot be fetched from the hub: {causes_in_one_line(error)}"


def why(error: BaseException, repository: str) -> str:
    """The reason alone, for where something else is done about it; no full stop."""
    if is_offline(error):
        return "HF_HUB_OFFLINE forbids asking the hub"
    if reason := _no_connection(error):
        return f"the hub cannot be reached ({reason})"
    return explain(error, repository).rstrip(".")


def incomplete(error: BaseException, repository: str, missing: str) -> str:
    """One line: the hub's cache has a part of a repository, and the hub could not be asked."""
    lacks = f": it lacks {missing}" if missing else ""
    done = (
        "unset it and start again, which fetches the rest"
        if is_offline(error)
        else "start again when it can be, which fetches the rest"
        if _no_connection(error)
        else "after that start again, which fetches the rest"
    )
    return (
        f"the copy of {repository} in the hub's cache is incomplete{lacks}; "
        f"{why(error, repository)}: {done}, or {_FOLDER}."
    )


def is_offline(error: BaseException) -> bool:
    """Whether the hub was not asked because the user forbids it."""
    return "OfflineModeIsEnabled" in _names(error)


def causes_in_one_line(error: BaseException) -> str:
    """An error and what caused it, in one line that ends like a sentence."""
    said: list[str] = []
    for cause in _chain(error):
        text = " ".join(str(cause).split()) or type(cause).__name__
        if not any(text in earlier for earlier in said):
            said.append(text)
    text = ": ".join(said)
    return text if text.endswith((".", "!")) else f"{text}."


def has_status(error: BaseException) -> bool:
    """Whether the hub answered, with an HTTP status that is an error."""
    return _status(error) is not None


# --- What the hub says ---------------------------------------------------------------------------


def _refusal(error: BaseException, repository: str, what: str) -> str:
    """Errors that the hub names by a code of its own."""
    names, url = _names(error), f"{_endpoint()}/{repository}"
    if "GatedRepoError" in names:
        who = (
            "with the account that the token here belongs to (where the authors look at each "
            "request, wait for their answer)"
            if _has_token()
            else "and log in here (`hf auth login`, or set HF_TOKEN)"
        )
        return f"{repository} is gated: accept its terms at {url} {who}, then start again."
    if "DisabledRepoError" in names:
        return f"the hub has disabled {repository}: nobody can download it ({url})."
    if "RevisionNotFoundError" in names:
        return f"{repository} has no such revision any more (see {url}/commits/main); start again."
    if "RepositoryNotFoundError" in names:
        return _not_found(repository)
    if names & {"RemoteEntryNotFoundError", "EntryNotFoundError"} and _status(error) == 404:
        return f"{what} is not there: the hub has no such file (see {url}/tree/main)."
    return ""


def _not_found(repository: str) -> str:
    """A missing repository and a private one are one answer."""
    if _has_token():
        return (
            f"the hub has no repository {repository}, or it is private and the token here may not "
            "see it: check the name, or log in with another account (`hf auth login`)."
        )
    return (
        f"the hub has no repository {repository}, or it is private: check the name; for a private "
        "one log in first (`hf auth login`, or set HF_TOKEN)."
    )


def _http_status(error: BaseException, repository: str, what: str) -> str:
    status = _status(error)
    if status is None:
        return ""
    if status == 401:
        if not _has_token():
            return (
                f"the hub wants to know who asks for {what} (401): log in (`hf auth login`, or "
                "set HF_TOKEN)."
            )
        return (
            f"the hub does not accept the token here (401), asked for {what}: it is wrong or has "
            "expired; log in anew (`hf auth login`), or change or unset HF_TOKEN."
        )
    if status == 403:
        return (
            f"the hub forbids {what} to whoever asks (403): the token's permissions do not cover "
            f"it, or this network may not; see {_endpoint()}/settings/tokens.{_reason(error)}"
        )
    if status == 404:
        return f"the hub does not have {what} (404): check the name."
    if status == 429:
        return (
            f"the hub takes no more requests from here for now (429), asked for {what}: try again "
            f"{_wait(error) or 'later'}{'' if _has_token() else '; logged in, more are allowed'}."
        )
    if status >= 500:
        why = _STATUS.get(status, "error of the server")
        again = _wait(error) or "later"
        return (
            f"the hub has trouble of its own ({status}, {why}), asked for {what}: try again "
            f"{again}, or {_FOLDER}."
        )
    return f"the hub answered {status} to {what}: {causes_in_one_line(error)}"


def _unreachable(error: BaseException, repository: str, what: str) -> str:
    """No answer at all; said of the whole repository, as the next file would fare no better."""
    if is_offline(error):
        return (
            f"{repository} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub: "
            f"unset it, or {_FOLDER}."
        )
    if any(isinstance(c, OSError) and c.errno == errno.ENOSPC for c in _chain(error)):
        return (
            f"the disk is full: {repository} is not here as a whole. Make room and start again; "
            "what has come is kept."
        )
    if reason := _no_connection(error):
        return (
            f"{repository} is not on this machine and the hub cannot be reached: {reason}; check "
            f"the network, or {_FOLDER}."
        )
    for cause in _chain(error):
        if isinstance(cause, PermissionError):
            where = cause.filename or "the hub's cache"
            return f"{where} cannot be written: set HF_HOME to a folder that can."
    return ""


def _no_connection(error: BaseException) -> str:
    """Why there is no connection; empty if that is not what is wrong."""
    causes, names = list(_chain(error)), _names(error)
    text = " ".join(str(cause) for cause in causes)
    host = urlsplit(_endpoint()).netloc
    if "ProxyError" in names:
        return f"the proxy refuses ({causes_in_one_line(causes[-1]).rstrip('.')})"
    if any(isinstance(c, ssl.SSLError) for c in causes) or "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{host} shows no certificate that is trusted here"
    if any(isinstance(c, socket.gaierror) for c in causes) or re.search(
        r"name resolution|Name or service|nodename nor servname|getaddrinfo", text
    ):
        return f"the name {host} cannot be resolved"
    if any(isinstance(c, ConnectionRefusedError) for c in causes) or "refused" in text:
        return f"{host} refuses the connection"
    if any("Timeout" in name for name in names):
        return f"{host} does not answer in time"
    if names & _NETWORK or any(isinstance(c, ConnectionError) for c in causes):
        return f"the connection to {host} breaks off"
    return ""


# Of the HTTP libraries that the client has used: httpx's, requests', urllib3's.
_NETWORK = frozenset(
    {"NetworkError", "ConnectError", "ReadError", "WriteError", "RemoteProtocolError"}
    | {"ConnectionError", "ChunkedEncodingError", "ProtocolError", "NewConnectionError"}
)


# --- What an error carries -----------------------------------------------------------------------


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _names(error: BaseException) -> set[str]:
    """Names of the classes of an error and of its causes, those that they inherit from included.

    By name, because the client has changed its HTTP library and added errors since 0.34.
    """
    return {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}


def _response(error: BaseException):
    found = (getattr(cause, "response", None) for cause in _chain(error))
    return next((response for response in found if response is not None), None)


def _status(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else response.status_code


def _reason(error: BaseException) -> str:
    """What the hub gives as its reason, in a header of its own."""
    text = " ".join(_response(error).headers.get("X-Error-Message", "").split())
    return f" It says: {text}" if text else ""


def _wait(error: BaseException) -> str:
    """When to ask again, of the headers `Retry-After` and `RateLimit`; empty if they do not say."""
    headers = _response(error).headers
    after = headers.get("Retry-After", "").strip()
    if after.isdigit():
        return f"in {after} s"
    if after:  # a date
        return f"after {after}"
    limit = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return f"in {limit[1]} s" if limit else ""


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
