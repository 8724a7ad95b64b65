# Restore what every armed rollback saved: run by the timer, at boot, or after a failed login.
#
# Prints "restored NAME", "failed NAME" or "damaged NAME" for each. What cannot be restored, as on
# a full disk, is tried again by the timer.
exec 8>>"$state/rollback.lock"
flock -w 300 8
cd "$folder" 2>/dev/null || exit 0
failed=''
same() { if [ -e "$1" ]; then cmp -s "$1" "$2"; else [ ! -e "$2" ]; fi; }
for d in */; do
    d=${d%/}
    [ -d "$d" ] || continue
    if ! is_complete "$d"; then
        # It was cut off before the change that it would have undone.
        echo "damaged ${d%%.*}"
        rm -rf "$d"
        continue
    fi
    ok=1
    while IFS= read -r path; do
        saved="$d/files$path"
        ! same "$saved" "$path" || continue
        : >"$d/changed"
        if [ ! -e "$saved" ]; then
            rm -f "$path"
        else
            cp -a "$saved" "$path.rollback" && mv -fT "$path.rollback" "$path" || rm -f "$path.rollback"
        fi
        same "$saved" "$path" || ok=''
    done <"$d/paths"
    (cd "$d" && sh ./back </dev/null >&2) || ok=''
    if [ -n "$ok" ]; then
        echo "restored ${d%%.*}"
        echo "${d%%.*} $(date '+%F %T %Z')" >>"$state/rolled-back"
    else
        echo "failed ${d%%.*}"
        failed=1
    fi
done
if [ -n "$failed" ]; then
    echo 'not everything could be restored; the timer tries again' >&2
    exit 1
fi
sync -f /etc
remove
