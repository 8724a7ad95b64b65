"""The engine: a task says what should be true, the engine finds out what is, shows the difference and mends only that.

It knows nothing of Jupyter. A run goes through these files, which are best read in this order:

    resources/base  what a resource is: it asks, understands the answer, says what it wants, and how to get there
    task            `setup` makes a Fabric task of a generator of resources; `Executor` runs a command line, hosts side by side
    settings        the flags and settings of a task, checked before any connection
    plan            all questions of a run in one batch; then only what differs is changed, in order, and looked at again
    shell           the one root shell of a host, over one connection (connect), to which all of that goes in batches
    guard           what the server itself puts back unless a new login proves that nobody is locked out
    report          the lines, the recap and the JSON that tell what happened
    secret, quote   passwords that never show; shell text that is quoted by construction
    errors          what can go wrong, in words for the operator
    patchwork       the one place where patchwork is imported
"""
