# Run a command as a transient unit.
#
# Values: unit (without .service), log (a path), user, wait (empty: only start the unit). The
# function begin calls start with its own arguments and the command.
mkdir -p "${log%/*}"

start() {
    systemctl reset-failed "$unit.service" 2>/dev/null || :
    : >"$log"
    chmod 0640 "$log"
    # Without a description, systemd would use the whole command as one.
    systemd-run --quiet --collect --unit="$unit" --description="$unit" --uid="$user" \
        -p UMask=022 -p KillMode=mixed \
        -p StandardOutput=append:"$log" -p StandardError=append:"$log" "$@" </dev/null
}

at_work() {
    case $(systemctl show -P ActiveState "$unit.service") in
        active|activating|deactivating) ;;
        *) false ;;
    esac
}

follow() {
    tail -n +1 -s 0.2 -F "$log" 2>/dev/null &
    tail=$!
}

if [ -z "$wait" ]; then
    at_work || begin
else
    if at_work; then
        follow
        while at_work; do sleep 0.5; done
        kill "$tail"
    fi
    : >"$log"
    follow
    begin --wait && s=0 || s=$?
    sleep 0.3
    kill "$tail" 2>/dev/null
    [ "$s" = 0 ] || grep -v '^[dp][lm]status:' "$log" | tail -n 15 >&2
    exit "$s"
fi
