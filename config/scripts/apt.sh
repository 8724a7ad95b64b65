# Run `commands`, in which `apt` is an apt-get that waits for other package managers, asks no
# questions, keeps changed configuration files, and restarts no service.
#
# Value: patience (seconds to wait for another package manager).
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8
began=$(date +%s)
told=''
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# Run a command again until no other process holds the lock that it needs. dpkg waits for no lock
# at all; apt waits for dpkg's lock, but not for those of its lists and archives.
patiently() {
    while s=0; "$@" 2>"$said" || s=$?; [ $s != 0 ]; do
        pid=$(grep -i ' lock' "$said" | sed -n 's/.*\(pid\|process\) \([0-9]*\).*/\2/p' | head -n 1)
        [ -n "$pid" ] || break
        holder="$(cat "/proc/$pid/comm" 2>/dev/null || echo another) (process $pid)"
        if [ $(($(date +%s) - began)) -ge "$patience" ]; then
            echo "$holder is still at work with packages after $patience s:" \
                "let it finish, or raise apt.lock_timeout" >>"$said"
            break
        fi
        [ "$told" = "$holder" ] || echo "waiting for $holder"
        told=$holder
        sleep 1
    done
    cat "$said" >&2
    return $s
}

apt() {
    patiently apt-get -q -o "DPkg::Lock::Timeout=$patience" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

patiently dpkg --force-confdef --force-confold --configure -a
commands
