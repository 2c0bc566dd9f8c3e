"""What stands for the identifiers of patients, series and instances wherever a file's own would tell who it is."""

from scanline.core.files import sha256_of_text

DIGEST_CHARACTERS = 16


def digest_of_identifier(text: str) -> str:
    """What stands for an identifier: 16 hexadecimal characters of its SHA-256, the same for the same identifier."""
    return sha256_of_text(f"identifier {text.strip()}")[:DIGEST_CHARACTERS]
