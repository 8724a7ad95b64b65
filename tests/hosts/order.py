"""In what order host tests run, and which run on the same worker."""

# The last to begin is what the other workers wait for: what takes longest comes first.
LONGEST_FIRST = [
    "test_release",
    "test_full_setup",
    "anaconda",
    "test_lockout",
    "killed operator",
    "test_conda",
    "test_certs",
    "test_faults_midway",
    "test_tls",
    "test_direct",
    "test_runner",
    "test_several",
    "test_tunnel",
    "test_access",
]
# Tests that use no host of the others in their file may run on another worker.
APART = {
    "test_killed_operator_rolls_back_in_time": "killed operator",
    "test_full_setup_with_anaconda_on_both_releases": "anaconda",
    "test_jupyter_moves_to_another_distribution": "anaconda",
    "test_removal_stops_the_service": "anaconda",
}


def group(nodeid):
    """Return what a test runs together with: its file, or a group of `APART`."""
    path, _, test = nodeid.partition("::")
    file = path.rpartition("/")[2].removesuffix(".py")
    return APART.get(test.partition("[")[0], file if "/hosts/" in path else path)


def place(item):
    """Return a number for sorting: the longest host tests first, tests without a host last."""
    if "/hosts/" not in item.nodeid:
        return len(LONGEST_FIRST) + 1
    name = group(item.nodeid)
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)
