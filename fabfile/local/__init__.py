"""What runs on the operator's machine.

commandline   how `fab` lists tasks, shows help and answers mistakes
openssh       the `ssh` command that reaches the same host as a Fabric connection
ssh_keys      the operator's public key, and how it gets to a server
forwarding    a local port that OpenSSH forwards to Jupyter, for `tunnel` and `verify`
browser       a visit to Jupyter as a browser makes it, for `verify`
certificate   the operator's own certificate and key, checked before they are uploaded
"""
