# Print what is left of the conda at "$path": there, record, block, listed.
if [ -L "$path" ]; then
    echo 'there a symbolic link'
elif [ -e "$path" ]; then
    echo "there $(stat -c %U "$path")"
fi
if [ -e "$record" ]; then
    if [ ! -e "$path" ] || [ "$(cat "$record")" = "$(stat -c %i "$path")" ] ||
        is_unfinished "$path"; then
        echo 'record of it'
    fi
fi
read_home
