"""What runs on the operator's machine.

The command line:

    commandline   how `fab` lists tasks, shows help and answers mistakes

What tasks use here:

    openssh       the `ssh` command that reaches the same host as a Fabric connection
    ssh_keys      the operator's public key, and how it gets to a server
    certificate   the operator's own certificate and key, checked before they are uploaded
    forwarding    a local port that OpenSSH forwards to Jupyter, for `tunnel` and `verify`
    ports         which local ports are free, and what uses the others
    visit         a visit to Jupyter, step by step, for `verify`
    browser       the requests of such a visit, as a browser makes them
"""
