"""Vectors and faces encrypted at rest. Apart from the rest of the package because few need the library."""

from __future__ import annotations

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recognition.errors import GalleryUnavailable

NONCE_BYTES = 12  # NIST SP 800-38D, 5.2.1.1; random ones suffice for 2**32 vectors with one key, 8.3
TAG_BYTES = 16
MARK_BYTES = 16


class Cipher:
    """AES-256-GCM. What is sealed for one sample cannot be opened as another's, or as something else of it.

    overhead: bytes by which it is longer once it is sealed.
    """

    overhead = NONCE_BYTES + TAG_BYTES

    def __init__(self, key: bytes) -> None:
        """Take a key of 32 bytes."""
        self._gcm = AESGCM(key)
        self._marks = hmac.digest(key, b"marks", "sha256")  # a key of its own for each purpose

    def marked(self, plain: bytes) -> bytes:
        """Return what stands for some bytes, always the same, and tells nobody else what they are."""
        return hmac.digest(self._marks, plain, "sha256")[:MARK_BYTES]

    def seal(self, plain: bytes, sample_id: str, kind: str) -> bytes:
        """Return a new random nonce, the encrypted bytes and their tag.

        kind: what it is of the sample: the fingerprint of a vector's model, or face_rows.KIND.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._gcm.encrypt(nonce, plain, _named(sample_id, kind))

    def open(self, sealed: bytes, sample_id: str, kind: str) -> bytes:
        """Return what was sealed.

        Raises:
            GalleryUnavailable: it was sealed with another key or for another sample, or has been changed.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._gcm.decrypt(nonce, rest, _named(sample_id, kind))
        except (InvalidTag, ValueError) as e:
            raise GalleryUnavailable("Something in the gallery cannot be decrypted: it was changed.") from e


def _named(sample_id: str, kind: str) -> bytes:
    return f"{kind}\0{sample_id}".encode()  # no id has a NUL
