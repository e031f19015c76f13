"""Signatures on the lines of a license file: Ed25519, in this project's own ``SIGN=`` form (docs/reference/license-file.md).

The extra ``signing`` brings what is needed.  A vendor's own signatures cannot be checked by anybody but the vendor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from palclient.errors import ConfigError
from palclient.licensefile import read_sign, signed_text, written_sign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from palclient.licensefile import FeatureLine, LicenseFile, PackageLine

_MISSING = "Signing licenses needs the package cryptography, which is not installed."
_INSTALL = "Install palclient with its extra: pip install 'palclient[signing]'"


class Signature(Enum):
    """What a look at the signature of a line has shown."""

    FITS = "fits"
    ALTERED = "altered"  #: the line, a host ID or the signature itself is not what was signed
    STRANGER = "stranger"  #: it fits, and is by another key than the one that was asked for
    FOREIGN = "foreign"  #: a form that only its vendor can check
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key pair.  ``public`` are the 32 bytes by which its signatures are known; ``private`` is the library's own object."""

    private: Ed25519PrivateKey
    public: bytes

    def sign_for(self, license_file: LicenseFile, line: FeatureLine | PackageLine) -> str:
        """The ``SIGN=`` value of a line in its file."""
        return written_sign(self.public, self.private.sign(signed_text(license_file, line)))


def _with_public(private: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(private=private, public=private.public_key().public_bytes_raw())


def new_key() -> SigningKey:
    """A fresh key pair, from the system's randomness.

    Raises:
        ConfigError: the extra ``signing`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise ConfigError(_MISSING, advice=_INSTALL) from error
    return _with_public(Ed25519PrivateKey.generate())


def write_key(path: str, key: SigningKey) -> None:
    """Write a key pair to a file that is not there yet (PEM, PKCS 8, without a password), for its owner's eyes alone.  Blocks for the writing.

    Raises:
        ConfigError: the file is there, or cannot be written.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    content = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(
            f"{path}: the key cannot be written: {error.strerror or error}.", path=path, advice="Name a file in a folder of yours."
        ) from error


def read_key(path: str) -> SigningKey:
    """Read a key pair that ``write_key`` or OpenSSL has written.  Blocks for the reading.

    Raises:
        ConfigError: the file cannot be read or has no Ed25519 key without a password; the extra ``signing`` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ConfigError(_MISSING, advice=_INSTALL) from error
    try:
        private = load_pem_private_key(Path(path).read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror or error}.", path=path) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise ConfigError(f"{path}: is no private key, or has a password.", path=path, advice=_KEY_ADVICE) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path}: is a key of another kind than Ed25519.", path=path, advice=_KEY_ADVICE)
    return _with_public(private)


_KEY_ADVICE = "palclient license new --key FILE makes one, and so does: openssl genpkey -algorithm ed25519"


def look_at_signature(license_file: LicenseFile, line: FeatureLine | PackageLine, *, by: bytes | None = None) -> Signature:
    """Whether the signature of a line fits; ``by`` is the public key that must have made it, None for any.

    Raises:
        ConfigError: there is a signature to check, and the extra ``signing`` is not installed.
    """
    parts = read_sign(line.sign or "")
    if parts is None:
        return Signature.FOREIGN if line.sign else Signature.MISSING
    if not _is_by(*parts, signed_text(license_file, line)):
        return Signature.ALTERED
    return Signature.STRANGER if by not in {None, parts[0]} else Signature.FITS


def _is_by(public_key: bytes, signature: bytes, text: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise ConfigError(_MISSING, advice=_INSTALL) from error
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):  # ValueError: not 32 bytes
        return False
    return True
