"""A place of its own for the bed: whatever becomes of it, no process and no mount of it is left behind.

On Linux the bed runs as process 1 of a PID namespace with its own mounts. The kernel ends every process in there when
process 1 ends, and takes the mounts away with the last of them: also after a `kill -9` of the bed itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_NEW_MOUNTS, _NEW_USER, _NEW_PIDS = 0x00020000, 0x10000000, 0x20000000
_RECURSIVE_PRIVATE = 0x4000 | (1 << 18)
_DIE_WITH_PARENT = 1


def enter() -> bool:
    """Go on as process 1 of new namespaces; False where the system does not allow it, and nothing has changed then.

    The caller's process stays behind, passes SIGTERM and SIGINT on and exits as process 1 does.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_MOUNTS | _NEW_PIDS | (0 if user == 0 else _NEW_USER)) != 0:
        return False
    if user != 0:  # become root in there, which may mount
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    parent = os.getpid()
    child = os.fork()
    if child:
        _stand_by(child)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() not in (0, parent):  # it ended before it could be told of
        os._exit(1)
    # Mounts made in here are nobody else's; and /proc must speak of the new process ids.
    _succeed(libc, libc.mount(b"none", b"/", None, _RECURSIVE_PRIVATE, None))
    _succeed(libc, libc.mount(b"proc", b"/proc", b"proc", 0, None))
    return True


def _succeed(libc: ctypes.CDLL, result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _stand_by(child: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
