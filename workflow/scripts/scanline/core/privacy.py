"""Patient ids are grouping keys, not identities: pseudonyms wherever results leave the tables."""

from scanline.core.files import sha256_of_text

PSEUDONYM_LENGTH = 12


def pseudonym(identifier: str, salt: str) -> str:
    """Give an identifier's pseudonym: the first 12 hexadecimal digits of SHA-256 of salt + identifier.

    Identifiers are often few and guessable (numbers from 1 to 500), so that whoever knows the salt can find
    them by trying: the protection lasts as long as the salt is private.

    Args:
        identifier: A patient's id as the source gives it.
        salt: The project's `patient_salt`.
    """
    return sha256_of_text(salt + identifier)[:PSEUDONYM_LENGTH]
