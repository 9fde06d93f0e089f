"""Users of the system: as whom this process runs."""

import os
import pwd


def own_name() -> str:
    """Return the name of this process's user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container, a user need not have a name
        return str(os.geteuid())
