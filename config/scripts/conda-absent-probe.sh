# Print what is left of the conda at "$path": there, record, block, listed.
# Root only looks whether something is at the path, which reveals and changes nothing.
if [ -L "$path" ]; then
    echo 'there a symbolic link'
elif [ -e "$path" ]; then
    owner=$(print_owner)
    echo "there $owner"
fi
if [ -e "$record" ]; then
    if [ ! -e "$path" ] || [ "$(cat "$record")" = "$(print_inode)" ] || is_unfinished; then
        echo 'record of it'
    fi
fi
read_home
