# Save what is there now and start the timer that restores it. What is armed already stays.
#
# The lock on descriptor 8 stays with the step that makes the change, so that nothing is
# restored in the middle of it. Everything is on disk before the change begins: after a power
# cut the unit at boot restores it.
umask 077
mkdir -p "$folder" && chmod 0700 "$state" "$folder" || exit
exec 8>>"$state/rollback.lock" && flock 8 || exit
if ! is_complete "$mine"; then
    # What an interrupted run left here saved nothing that could be trusted.
    rm -rf "$mine" && mkdir -p "$mine/files" && cd "$mine" && : >paths || exit
    for path in "$@"; do
        if [ -L "$path" ]; then
            echo "$path is a symbolic link; replace it with the file itself" >&2
            exit 1
        fi
        printf '%s\n' "$path" >>paths
        [ ! -e "$path" ] || { mkdir -p "files${path%/*}" && cp -a "$path" "files$path"; } || exit
    done
    (note) && printf %s "$back" >back && printf %s "$restore" >../restore || exit
    rm -f "$state/rolled-back" && umask 022 && mkdir -p "${wanted%/*}" || exit
    printf %s "$boot_unit" >"$at_boot" && ln -sfn "$at_boot" "$wanted" || exit
    sync -f . && sync -f "$at_boot" && digest . >complete.new || exit
    mv complete.new complete && sync -f . || exit
fi
if ! systemctl is-active -q "$unit.timer"; then
    # One that has just restored something may still be ending.
    attempts=0
    until
        systemctl stop "$unit.timer" 2>/dev/null
        systemctl reset-failed "$unit.service" 2>/dev/null
        systemd-run --quiet --unit="$unit" --on-active="$seconds" \
            --timer-property=AccuracySec=100ms -p Restart=on-failure -p RestartSec=5 \
            -p StartLimitIntervalSec=0 /bin/sh "$folder/restore"
    do
        attempts=$((attempts + 1))
        [ $attempts -lt 20 ] || exit
        sleep 0.2
    done
fi
umask 022
cd / || exit
