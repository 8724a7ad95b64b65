"""Runs command lines of `fab`, each in a process of its own that starts within milliseconds.

Everything is imported once; then each line of JSON on standard input, `{"argv", "env", "cwd"}`,
runs in a fork and is answered by one line, `{"status", "out", "err"}`.
"""

import gc
import json
import os
import signal
import sys
import tempfile
import traceback

import jinja2  # noqa: F401
from fabric.main import program

import fabfile  # noqa: F401

LIMIT = 20  # seconds until a command line that hangs is killed


def run(argv, env, cwd):
    """Do what `bin/fab` does, in this process, and end it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv, sys.path[0] = argv, os.path.dirname(argv[0])
    try:
        status = program.run()
    except SystemExit as error:
        status = error.code
    except BaseException:
        status = traceback.print_exc() or 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)  # skips the cleanup, which takes longer than all the rest


def capture():
    """Return a file for what a command line prints."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def main():
    """Answer each request."""
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    for line in os.fdopen(os.dup(0)):
        with capture() as out, capture() as err:
            child = os.fork()
            if not child:
                signal.alarm(LIMIT)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                run(**json.loads(line))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            answer = {"status": status, "out": out.read(), "err": err.read()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
