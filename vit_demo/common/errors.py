"""The one kind of error that a person can cause and can mend."""


class UserError(Exception):
    """A mistake of the person at the page or the prompt.

    The message is one plain sentence (or two) that says what is wrong and what to do.
    The page shows it as it is; the command line prints it and exits with status 2.
    """
