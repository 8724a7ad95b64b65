# Print what is at "$path", and what an installation there would need to know about the server.
if [ -L "$path" ]; then
    echo 'state a symbolic link'
    exit 0
elif [ ! -e "$path" ]; then
    echo state absent
elif [ ! -d "$path" ]; then
    echo 'state a file'
    exit 0
elif is_whole "$path" && [ "$(cat "$record" 2>/dev/null)" = begun ]; then
    echo state unconfirmed
elif is_whole "$path"; then
    echo "state $(stat -c %U "$path")"
    exit 0
elif is_unfinished "$path"; then
    echo state unfinished
elif [ -z "$(ls -A "$path")" ] && [ "$(stat -c %U "$path")" = "$user" ]; then
    echo state empty
elif [ -d "$path/conda-meta" ]; then
    echo 'state a conda that is not whole'
    exit 0
else
    echo 'state a folder that is no conda'
    exit 0
fi
folder=$path
until [ -d "$folder" ]; do
    folder=${folder%/*}
    folder=${folder:-/}
done
! systemctl is-active -q "$unit" || echo running now
df -Pk "$folder" | awk 'END { print "free", $4 }'
case $(findmnt -no OPTIONS -T "$folder" 2>/dev/null) in *noexec*) echo noexec "$folder" ;; esac
awk '/^(MemTotal|SwapTotal):/ { n += $2 } END { printf "memory %.0f\n", n }' /proc/meminfo
getconf GNU_LIBC_VERSION 2>/dev/null
echo "machine $(uname -m)"
choose_source
[ ! -f "$file" ] || head -c 65536 "$file" | grep -a -o -e '^# PLAT: *[a-z0-9_-]*' \
    -e '^total_installation_size_kb="*[0-9]*' -e 'requires GLIBC >=[0-9.]*' || :
