"""One line of explanation for each way in which a request to the Hugging Face hub can fail.

The client's own errors run over several lines, and different causes look alike: a repository that
does not exist, one whose terms were not accepted and a token that has expired all end a download.
The error, its causes and the HTTP response are examined here for what the user can do.
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
    """Explain in one line why a request for a repository failed, and what to do.

    Args:
        error: of the client, its HTTP library or the system.
        repository: OWNER/NAME.
        file: that was being downloaded, if it is known.
    """
    what = repository if file is None else f"{file} of {repository}"
    for explanation in (_refusal, _http_status, _unreachable):
        if line := explanation(error, repository, what):
            return line
    return f"{what} cannot be fetched from the hub: {causes_in_one_line(error)}"


def why(error: BaseException, repository: str) -> str:
    """State the reason alone, without advice and without a full stop."""
    if is_offline(error):
        return "HF_HUB_OFFLINE forbids asking the hub"
    if reason := _no_connection(error):
        return f"the hub cannot be reached ({reason})"
    return explain(error, repository).rstrip(".")


def incomplete(error: BaseException, repository: str, missing: str) -> str:
    """Explain in one line that a cached copy is incomplete and the hub could not be reached."""
    lacks = f": it lacks {missing}" if missing else ""
    advice = (
        "unset it and start again to download the rest"
        if is_offline(error)
        else "start again when it can be reached to download the rest"
        if _no_connection(error)
        else "after that start again to download the rest"
    )
    return (
        f"the copy of {repository} in the hub's cache is incomplete{lacks}; "
        f"{why(error, repository)}: {advice}, or {_FOLDER}."
    )


def is_offline(error: BaseException) -> bool:
    """Tell whether no request was made because HF_HUB_OFFLINE is set."""
    return "OfflineModeIsEnabled" in _names(error)


def causes_in_one_line(error: BaseException) -> str:
    """Join the messages of an error and its causes to one line that ends with a full stop."""
    messages: list[str] = []
    for cause in _chain(error):
        text = " ".join(str(cause).split()) or type(cause).__name__
        if not any(text in earlier for earlier in messages):
            messages.append(text)
    text = ": ".join(messages)
    return text if text.endswith((".", "!")) else f"{text}."


def has_status(error: BaseException) -> bool:
    """Tell whether the hub answered with an HTTP error."""
    return _status(error) is not None


# --- Explanations --------------------------------------------------------------------------------


def _refusal(error: BaseException, repository: str, what: str) -> str:
    """Explain errors for which the hub has a code of its own; empty for any other."""
    names, url = _names(error), f"{_endpoint()}/{repository}"
    if "GatedRepoError" in names:
        who = (
            "with the account of the token used here (if the authors review each request, wait for "
            "their answer)"
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
    """Explain "not found", which the hub answers for missing and for private repositories."""
    if _has_token():
        return (
            f"the hub has no repository {repository}, or it is private and the token used here has "
            "no access: check the name, or log in with another account (`hf auth login`)."
        )
    return (
        f"the hub has no repository {repository}, or it is private: check the name; for a private "
        "one log in first (`hf auth login`, or set HF_TOKEN)."
    )


def _http_status(error: BaseException, repository: str, what: str) -> str:
    """Explain an HTTP status; empty if the hub did not answer."""
    status = _status(error)
    if status is None:
        return ""
    if status == 401:
        if not _has_token():
            return (
                f"the hub requires a login for {what} (401): run `hf auth login`, or set HF_TOKEN."
            )
        return (
            f"the hub does not accept the token used here (401) for {what}: it is wrong or has "
            "expired; log in again (`hf auth login`), or change or unset HF_TOKEN."
        )
    if status == 403:
        return (
            f"the hub denies access to {what} (403): the token's permissions do not cover it, or "
            f"this network is blocked; see {_endpoint()}/settings/tokens.{_reason(error)}"
        )
    if status == 404:
        return f"the hub does not have {what} (404): check the name."
    if status == 429:
        return (
            f"the hub's limit of requests is reached (429) for {what}: try again "
            f"{_wait(error) or 'later'}{'' if _has_token() else '; a login raises the limit'}."
        )
    if status >= 500:
        why = _STATUS.get(status, "error of the server")
        again = _wait(error) or "later"
        return (
            f"the hub has a problem of its own ({status}, {why}) with {what}: try again {again}, "
            f"or {_FOLDER}."
        )
    return f"the hub answered {status} to {what}: {causes_in_one_line(error)}"


def _unreachable(error: BaseException, repository: str, what: str) -> str:
    """Explain why there was no answer: for the whole repository, as its other files fail alike."""
    if is_offline(error):
        return (
            f"{repository} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub: "
            f"unset it, or {_FOLDER}."
        )
    if any(isinstance(c, OSError) and c.errno == errno.ENOSPC for c in _chain(error)):
        return (
            f"the disk is full: the download of {repository} is incomplete. Make room and start "
            "again to resume it."
        )
    if reason := _no_connection(error):
        return (
            f"{repository} is not on this machine and the hub cannot be reached: {reason}; check "
            f"the network, or {_FOLDER}."
        )
    for cause in _chain(error):
        if isinstance(cause, PermissionError):
            where = cause.filename or "the hub's cache"
            return f"{where} is not writable: set HF_HOME to a folder that is."
    return ""


def _no_connection(error: BaseException) -> str:
    """Explain why there is no connection; empty if the error has another cause."""
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


# --- The contents of an error --------------------------------------------------------------------


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _names(error: BaseException) -> set[str]:
    """List the class names of an error and its causes, base classes included.

    By name, because the client has changed its HTTP library and added errors since 0.34.
    """
    return {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}


def _response(error: BaseException):
    responses = (getattr(cause, "response", None) for cause in _chain(error))
    return next((response for response in responses if response is not None), None)


def _status(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else response.status_code


def _reason(error: BaseException) -> str:
    """Quote the reason that the hub states in a header of its own; empty if there is none."""
    text = " ".join(_response(error).headers.get("X-Error-Message", "").split())
    return f" It says: {text}" if text else ""


def _wait(error: BaseException) -> str:
    """Read from the headers `Retry-After` and `RateLimit` when to try again; empty without them."""
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
