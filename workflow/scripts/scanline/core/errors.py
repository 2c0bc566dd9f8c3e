"""The one error that a user of the pipeline is meant to read."""


class InputError(Exception):
    """Input that the user can mend, told in one line.

    Args:
        where: The file, and the key, row or patient in it.
        found: What stands there.
        expected: What should stand there.
        next_step: What to do now, a command where there is one.
    """

    def __init__(self, where: object, *, found: str, expected: str, next_step: str) -> None:
        self.where, self.found, self.expected, self.next_step = str(where), found, expected, next_step
        message = f"{self.where}: found {found}; expected {expected}. {next_step}"
        super().__init__(" ".join(message.splitlines()))
