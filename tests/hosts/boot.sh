#!/bin/sh
# boot.sh NETNS CGROUP... -- COMMAND...
# Boots a host with a command in cgroups of its own, in the background, and again whenever the command ends
# with 133: that is how systemd-nspawn says that the host asked to be rebooted.
set -eu
namespace=$1
shift
while [ "$1" != -- ]; do
    echo $$ >"$1/cgroup.procs"
    shift
done
shift

boot() {
    ip netns exec "$namespace" nft flush ruleset  # a firewall does not outlive a reboot by itself
    "$@"
}

while boot "$@"; [ $? = 133 ]; do :; done &
