# Print what is at "$path", and what an installation there would need to know about the server.
# Root only looks whether something is at the path, which reveals and changes nothing. What is in
# it is the user's, and the user looks at that.
if [ -L "$path" ]; then
    state='a symbolic link'
elif [ ! -e "$path" ]; then
    state=absent
elif [ ! -d "$path" ]; then
    state='a file'
else
    state=$(print_state)
fi
echo "state $state"
case $state in
    absent | unconfirmed | unfinished | empty) ;;
    *) exit 0 ;;
esac
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
