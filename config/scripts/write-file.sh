# Write a file beside the old one, check it, and move it into place.
#
# Values: path, folder, template (for mktemp), old (the name of the backup), content, size (of the
# content, in bytes), owner (user:group), mode. Functions: is_theirs tells whether the file at $path
# is not ours to replace, check_new sees the new file as $new before it is in place, check_in_place
# runs afterwards.
new=$(mktemp "$template")
trap 'rm -f "$new"' EXIT
printf %s "$content" 2>/dev/null >"$new" || :
written=$(wc -c <"$new")
if [ "$written" != "$size" ]; then
    echo "the disk is full: $written of $size bytes fit into $folder; make room there" >&2
    exit 1
fi
chown "$owner" "$new"
chmod "$mode" "$new"
check_new
# Someone may have written it since the probe.
if { [ -e "$path" ] || [ -L "$path" ]; } && is_theirs; then
    echo "$path has been written by someone else during this run; move it away" >&2
    exit 1
fi
if [ -e "$path" ]; then
    # A user cannot link to a file of someone else's, but may move it.
    ln -f "$path" "$old" 2>/dev/null || mv -fT "$path" "$old"
else
    rm -f "$old"
fi
mv -fT "$new" "$path"
if ! check_in_place; then
    if [ -e "$old" ]; then mv -fT "$old" "$path"; else rm -f "$path"; fi
    echo 'the old file was restored' >&2
    exit 1
fi
rm -f "$old"
