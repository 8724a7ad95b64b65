# Move an uploaded file into the cache, and check its SHA-256.
#
# Values: user (who uploaded it), place (its path below the user's home), cache (a directory).
# Function: choose sets sum and file.
fail() { rm -f "$file.part"; echo "$*" >&2; exit 1; }
choose
from=$(getent passwd "$user" | cut -d: -f6)/$place
mkdir -p "$cache"
rm -f "$file.part"
cat "$from" >"$file.part" || fail 'the disk is full; make room there'
rm -f "$from"
rmdir "${from%/*}" 2>/dev/null || :
printf '%s  %s\n' "$sum" "$file.part" | sha256sum --check --quiet - ||
    fail 'the file that arrived is not the one that was sent; run this again'
chmod 0644 "$file.part"
mv "$file.part" "$file"
