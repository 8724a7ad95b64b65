# Print the state of the directory "$path". Runs as the user, whose directory it should be.
if is_whole "$path"; then
    if [ "$(cat "$record" 2>/dev/null)" = begun ]; then echo unconfirmed; else stat -c %U "$path"; fi
elif is_unfinished "$path"; then
    echo unfinished
elif [ -z "$(ls -A "$path" 2>/dev/null)" ] && [ "$(stat -c %U "$path")" = "$user" ]; then
    echo empty
elif [ -d "$path/conda-meta" ]; then
    echo 'a conda that is not whole'
else
    echo 'a folder that is no conda'
fi
