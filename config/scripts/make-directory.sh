# Create a directory, or change its owner and mode.
#
# Values: directory, parent, user, owner (user:group), mode (empty: keep it). Functions: replaceable
# prints "replaceable" if the user could replace a parent, create does the work as the user.
until [ -d "$parent" ]; do
    parent=${parent%/*}
    parent=${parent:-/}
done
if [ "$(replaceable)" = replaceable ]; then
    create
else
    # Only root can create a directory here, and no one else can put a link into the path.
    mkdir -p "$directory"
    chown -h "$owner" "$directory"
    [ -z "$mode" ] || chmod "$mode" "$directory"
fi
