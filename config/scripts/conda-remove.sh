# Remove the conda at "$path" and what it left in the home. Runs as the user, in a unit.
cd "$HOME"
for file in .bashrc .zshrc; do
    [ -n "$(conda_init block "$file")" ] || continue
    rest=$(mktemp)
    conda_init rest "$file" >"$rest"
    cat "$rest" >"$file"
    rm -f "$rest"
done
list=.conda/environments.txt
if [ -f "$list" ]; then
    rest=$(grep -Fxv -e "$path" "$list" | grep -v -e "^$path/envs/") || :
    if [ -n "$rest" ]; then
        printf '%s\n' "$rest" >"$list"
    else
        rm -f "$list"
        rmdir .conda 2>/dev/null || :
    fi
fi
rm -rf .cache/conda
# Only root can remove a folder below one of root's, so an empty one may stay.
rm -rf "$path" 2>/dev/null || [ ! -e "$path" ] || [ -z "$(ls -A "$path")" ]
