"""Heads signed with Ed25519, so that one may be kept anywhere, and still be known to come from who has the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyengine.errors import FieldError
from pyengine.optional import require

_PURPOSE = b"pyengine-chain-head-1\n"
"""Stands before what is signed, so that a signature made for something else is never one of a head."""


def sign_head(link: str, private_key: Path | str) -> str:
    """Sign a head.

    Parameters
    ----------
    link : str
        64 hexadecimal digits, `ChainHead.link`.
    private_key : path
        PEM file with an Ed25519 key, without a password; ``openssl genpkey -algorithm ed25519`` makes one.

    Returns
    -------
    str
        128 hexadecimal digits: the Ed25519 signature over ``pyengine-chain-head-1``, a line feed and the link.

    Raises
    ------
    FieldError
        The head isn't one, or the file holds no such key.
    OSError
        The file can't be read.
    MissingExtraError
        cryptography isn't installed.
    """
    key = _loaded(Path(private_key), "private_key", "load_pem_private_key", "Ed25519PrivateKey", None)
    signature: bytes = key.sign(_message(link))
    return signature.hex()


def is_signed(link: str, signature: str, public_key: Path | str) -> bool:
    """Whether a signature of a head is that of a key.

    Parameters
    ----------
    link, signature : str
        As `sign_head` takes and gives them.
    public_key : path
        PEM file; ``openssl pkey -pubout`` makes it of the private one.

    Raises
    ------
    FieldError, OSError, MissingExtraError
        As `sign_head` does.
    """
    key = _loaded(Path(public_key), "public_key", "load_pem_public_key", "Ed25519PublicKey")
    exceptions = require("cryptography.exceptions", "sign")
    try:
        key.verify(bytes.fromhex(signature), _message(link))
    except ValueError:
        raise FieldError("signature", signature, "128 hexadecimal digits") from None
    except exceptions.InvalidSignature:
        return False
    return True


def _message(link: str) -> bytes:
    """Spell what is signed."""
    if len(link) != 64 or set(link.lower()) - set("0123456789abcdef"):
        raise FieldError("head", link, "64 hexadecimal digits")
    return _PURPOSE + link.lower().encode()


def _loaded(path: Path, field: str, load: str, kind: str, *password: None) -> Any:
    """Read a key of a PEM file."""
    serialization = require("cryptography.hazmat.primitives.serialization", "sign")
    ed25519 = require("cryptography.hazmat.primitives.asymmetric.ed25519", "sign")
    text = path.read_bytes()
    try:
        key = getattr(serialization, load)(text, *password)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, getattr(ed25519, kind)):
        raise FieldError(field, str(path), "a PEM file with an Ed25519 key and no password")
    return key
