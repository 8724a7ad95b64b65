# Run the code on standard input as a user, and relay what it prints.
#
# The user's processes get pipes instead of root's own output, so that no process of the user can
# keep that open or write to it later. Values: user, size (of the output, in bytes).
cd /
home=$(getent passwd "$user" | cut -d: -f6)
if [ "$(id -u)" = 0 ]; then
    set -- setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --no-new-privs
else
    set -- # a test without root, as this user already
fi
# shellcheck disable=SC2016 # the user's shell expands it
run='code=$(cat; echo .); exec </dev/null; eval "${code%.}"'
exec 5>&1
# Descriptor 3 carries the status, 4 the output and 5 is root's own.
status=$(
    {
        {
            {
                s=0
                env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="$home" USER="$user" LOGNAME="$user" \
                    "$@" /bin/sh -ec "$run" 3>&- 4>&- 5>&- || s=$?
                echo "$s" >&3
            } 2>&1 >&4 4>&- | head -c 20000 >&2
        } 4>&1 | head -c "$size" >&5
    } 3>&1
)
[ "$status" != 141 ] || echo "the files of $user gave more than $size bytes" >&2
exit "${status:-1}"
