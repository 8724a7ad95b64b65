# Take an uploaded file into the cache, and check its SHA-256.
#
# Value: cache (a directory). Functions: choose sets sum and file, read_upload prints the uploaded
# file and remove_upload removes it, both as the user who uploaded it.
fail() { rm -f "$file.part"; echo "$*" >&2; exit 1; }
choose
mkdir -p "$cache"
rm -f "$file.part"
# No other user can read it before its checksum is verified.
(umask 077; : >"$file.part")
read_upload >"$file.part" || fail "the uploaded file cannot be read, or the disk is full"
remove_upload
printf '%s  %s\n' "$sum" "$file.part" | sha256sum --check --quiet - ||
    fail 'the file that arrived is not the one that was sent; run this again'
chmod 0644 "$file.part"
mv "$file.part" "$file"
