"""Work for worker processes, which import it by name: nothing heavy is loaded here."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path


def doubled(given: Mapping) -> Mapping:
    """Twice a number; of 13 it is said that it brings bad luck, and 666 kills whoever is asked."""
    if given["n"] == 13:
        raise LookupError("13 brings bad luck")
    if given["n"] == 666:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"twice": 2 * given["n"], "pid": os.getpid()}


def waits_once(given: Mapping) -> Mapping:
    """Twice a number; one with a `mark` makes that file with its process id, and waits to be killed the first time."""
    if "mark" in given and not (mark := Path(given["mark"])).exists():
        unseen = mark.with_suffix(".part")
        unseen.write_text(str(os.getpid()))
        unseen.rename(mark)
        time.sleep(60)
    return doubled(given)


def slept(given: Mapping) -> Mapping:
    """Seconds of sleep."""
    time.sleep(given["seconds"])
    return {}
