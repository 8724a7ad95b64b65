"""The tasks that `fab --list` shows, one subject a file.

A setup task is a generator of resources: it reads like a list of what will be true on the server.
`users.create_user` is a good one to begin with. A preset, such as `presets.full_setup`, joins
other setup tasks by ``yield from task.body(c, s)``. A task that does something once, such as
`tunnel.tunnel`, is a plain Fabric task.

No resource is defined here: those that know a subject are in `resources`, the general ones in
`kit.resources`. What follows from the settings is in `settings`; what runs on the operator's
machine is in `local`.
"""
