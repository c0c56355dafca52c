"""What Redis answers when it doesn't do as it was told, as errors of the stores."""

from __future__ import annotations

import re
from typing import Any

from pyengine.store_errors import StoreError, StoreRefused, StoreUnavailable
from pyengine.stores.redis.address import redis

ReplyError: Any = redis.ResponseError
"""What stands for an error among the replies of an exchange."""

_LATER = {
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "WRONGPASS",
}
"""Codes of a server that can't now, or won't until its owner changes something."""

_ELSEWHERE = {"ASK", "CLUSTERDOWN", "MASTERDOWN", "MOVED", "READONLY"}
"""Codes of a server that isn't, or is no longer, the one for our keys."""

_CODES = {
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
}
"""redis-py makes classes of some codes and cuts them off the text; a subclass stands before its base."""

_IN_SCRIPT = re.compile(r"(?:ERR )?Error running script \(.*?\): @user_script: ?\d+: -?(?:@user_script: ?\d+: )?(.*)", re.DOTALL)
_NO_PERMISSION = re.compile("ACL failure in script|user executing the script can't run this command")
"""What Valkey and Redis say, without a code, when a script does what its user may not."""

_CODE = re.compile("-?([A-Z]{2,})(?: |$)")


def code_of(error: BaseException) -> str:
    """Return the code of an error reply, such as "READONLY"; "" if it has none."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    text = str(error)
    if _NO_PERMISSION.search(text):
        return "NOPERM"
    inside = _IN_SCRIPT.match(text)
    found = _CODE.match(inside.group(1) if inside else text)
    return found.group(1) if found else ""


def is_elsewhere(error: BaseException) -> bool:
    """Whether the error says that another server has to be asked."""
    return isinstance(error, ReplyError) and code_of(error) in _ELSEWHERE


def store_error(error: BaseException, what: str, address: str) -> StoreError:
    """Make an error of ours: of one that the driver raised, or that Redis replied.

    Parameters
    ----------
    error : exception
        Of redis-py, or an OSError.
    what : str
        The operation, such as "get of order 5".
    address : str
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, ReplyError):
        code = code_of(error)
        kind = StoreUnavailable if code in _LATER else StoreRefused
        if code and not reason.startswith(code):
            reason = f"{code} {reason}"
        return kind(f"redis at {address}: {what} failed: {reason}")
    return StoreUnavailable(f"redis at {address}: {what} failed: {reason}")
