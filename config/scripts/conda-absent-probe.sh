# Print what is left of the conda at "$path": there, record, block, listed.
home=$(getent passwd "$user" | cut -d: -f6)
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
[ -n "$home" ] || exit 0
for file in "$home/.bashrc" "$home/.zshrc"; do
    [ -z "$(conda_init block "$file")" ] || echo "block $file"
done
list=$home/.conda/environments.txt
[ ! -f "$list" ] || grep -Fx -e "$path" "$list" | sed 's/^/listed /'
