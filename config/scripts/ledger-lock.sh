# Take the lock of this host on descriptor 9: the shell that holds it, or the last of its steps,
# releases it by ending. Sets waited to 0, 1 (another run had it) or 2 (it still has it).
umask 077
mkdir -p "$runtime"
chmod 0700 "$runtime"
exec 9>>"$runtime/lock"
waited=0
if ! flock -n 9; then
    waited=1
    echo 'another run is changing this host'
    until flock -w 1 9 2>/dev/null; do
        patience=$((patience - 1))
        if [ $patience -le 0 ]; then
            waited=2
            break
        fi
        read -r pid client client_port _ server_port <"$runtime/lock"
        # Operators send something every 10 s. One whose machine has vanished sends nothing, and
        # the server would wait for it for many minutes: end that run after the step at hand.
        if [ -n "$server_port" ] && [ "/proc/$pid/fd/9" -ef "$runtime/lock" ]; then
            silent=$(ss -Htni "sport = :$server_port and dport = :$client_port and dst $client" 2>/dev/null |
                sed -n 's/.*lastrcv:\([0-9]*\).*/\1/p')
            if [ "${silent:-0}" -gt 45000 ]; then
                echo 'the machine of that run has not answered for 45 s; its run is ended'
                kill "$pid" 2>/dev/null
            fi
        fi
    done
fi
[ $waited = 2 ] || printf '%s %s\n' "$$" "$SSH_CONNECTION" >"$runtime/lock"
umask 022
