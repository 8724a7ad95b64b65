"""The engine: it makes true on a host what a task says should be true, and changes nothing else.

It knows nothing of Jupyter. A run goes through these files; this is a good order to read them:

    resources/base  what a resource is: its probe, actual state, desired state and change
    task            `setup` turns a generator of resources into a Fabric task
    settings        the settings of a task, checked before any connection
    executor        one command line: its tasks in order, its hosts side by side
    host            one server: its root shell, its report, its known passwords
    plan            the resources of one run, their actual state, and what would change
    converge        applies a plan, runs its handlers, and verifies the result
    ledger          what the server remembers of runs: lock, pending handlers, armed rollbacks
    rollback        what the server undoes by itself unless a new login works
    shell           the root shell of a host, which runs steps in batches
    connect         opens connections as OpenSSH would; known_hosts decides on host keys
    report          progress lines, the summary and the JSON report
    secret, quote   passwords that never show; shell text with every value quoted
    errors          what can go wrong, in words for the operator
    patchwork       the only place where patchwork is imported
"""
