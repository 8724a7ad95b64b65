# Print the armed rollbacks, what was rolled back since the last run, and the pending handlers.
for d in "$folder"/*/; do
    [ -d "$d" ] || continue
    name=${d%/}
    name=${name##*/}
    if is_complete "$d"; then
        printf 'armed %s\n' "$name"
    else
        printf 'damaged %s\n' "$name"
    fi
done
[ ! -e "$state/rolled-back" ] || sed 's/^/rolled-back /' "$state/rolled-back"
cd "$pending" 2>/dev/null || exit 0
for f in *; do
    [ ! -f "$f" ] || { printf '\000%s\000' "$f" && cat "$f"; }
done
