"""Signatures of the public classes: upstream's arguments with upstream's numbers, ours by keyword.

A setting that the caller leaves out is the checkpoint's own, and yet `help()` is to show upstream's
number; so the defaults are numbers that differ in type from a caller's. The keyword arguments of
all ways to speak are declared once (`SpeechOptions`) and shown as if they stood in each signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ..synthesis.request import OPTION_DEFAULTS, SpeechOptions

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")
Method = TypeVar("Method", bound=Callable[..., Any])


class _UpstreamFloat(float):
    pass


class _UpstreamInt(int):
    pass


def upstreams(number):
    """Upstream's default of a setting, as the sign that the caller left it out."""
    return _UpstreamInt(number) if isinstance(number, int) else _UpstreamFloat(number)


def is_left_out(value: object) -> bool:
    """True for a default that `upstreams` made."""
    return isinstance(value, (_UpstreamFloat, _UpstreamInt))


def shows_options(method: Method) -> Method:
    """Show a method's `**options` as the keyword-only parameters of `SpeechOptions`."""
    signature = inspect.signature(method)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=OPTION_DEFAULTS.get(name),
            annotation=getattr(kind, "__forward_arg__", kind),
        )
        for name, kind in SpeechOptions.__annotations__.items()
    ]
    vars(method)["__signature__"] = signature.replace(parameters=[*own, *options])
    return method


def same_arguments(
    other: Callable[Arguments, Any],
) -> Callable[[Callable[..., Returned]], Callable[Arguments, Returned]]:
    """Declare that a method has the arguments of another one, and hands all of them on."""

    def declare(method: Callable[..., Returned]) -> Callable[Arguments, Returned]:
        returned = inspect.signature(method).return_annotation
        signature = inspect.signature(other).replace(return_annotation=returned)
        vars(method)["__signature__"] = signature
        return method

    return declare
