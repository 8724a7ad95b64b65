# Add keys to an authorized_keys file and remove others.
#
# Values: path, template (for mktemp), missing (the lines to add). Arguments: an option -eLINE for
# each line to remove.
new=$(mktemp "$template")
trap 'rm -f "$new"' EXIT
if [ -e "$path" ]; then
    if [ -L "$path" ] || [ ! -f "$path" ] || [ "$(stat -c %s "$path")" -gt 1000000 ]; then
        echo "$path is not a regular file of at most 1 MB" >&2
        exit 1
    fi
    if [ $# = 0 ]; then cat "$path" >"$new"
    # grep exits with 1 if no line is left, and with 2 if the disk is full.
    else grep -vxF "$@" "$path" >"$new" || [ $? = 1 ]; fi
    [ -z "$(tail -c 1 "$new")" ] || echo >>"$new"
fi
printf '%s' "$missing" >>"$new" || {
    echo 'the disk is full; make room there' >&2
    exit 1
}
chmod 0600 "$new"
mv -fT "$new" "$path"
