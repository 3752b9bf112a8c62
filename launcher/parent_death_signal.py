"""Becomes a command that does not outlive the process which started it. Run as a script.

``python parent_death_signal.py PARENT SIGNAL UID GID COMMAND...``: when the process PARENT ends,
however it ends, the kernel sends SIGNAL to the command. UID and GID of -1 mean: as they are. A
process of its own, and not code between fork and exec, because that is not safe in a threaded
parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns: this process becomes the command."""
    parent, death, uid, gid = map(int, sys.argv[1:5])
    command = sys.argv[5:]
    if gid != -1:
        os.setgroups([])
        os.setgid(gid)
    if uid != -1:
        os.setuid(uid)
    # After the change of user, which clears it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death)
    if os.getppid() != parent:
        sys.exit("the process that wanted this one is gone")
    # Python ignores it, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


main()
