# Run code as the user who owns what it reads or writes.
#
# Values: user, seconds. Functions: print_code prints the code, relay runs what it reads from
# standard input as the user, no_user answers if the user does not exist.
if getent passwd "$user" >/dev/null; then
    s=0
    # One of these descriptors holds the lock of the run.
    print_code | relay 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- || s=$?
    case $s in
        0) ;;
        124 | 137)
            echo "gave up after $seconds s as $user: a file in the way may be a pipe or a device" >&2
            exit 1
            ;;
        *) exit "$s" ;;
    esac
else
    no_user
fi
