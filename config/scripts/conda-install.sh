# Install a conda at "$path". Runs as the user, in a unit.
starts() { timeout 60 "$path/bin/conda" info --json </dev/null; }
# A unit of an earlier run may have ended just before, so look at what is there only now.
if is_whole "$path"; then
    ! starts >/dev/null 2>&1 || exit 0
    if [ -n "$(ls -A "$path/envs" 2>/dev/null)" ]; then
        echo "the conda at $path does not start; move its environments away and run this again" >&2
        exit 1
    fi
    : >"$path/conda-meta/history"
fi
unset TMPDIR
umask 022
cd "$HOME"
if [ -e "$path" ] && [ -n "$(ls -A "$path")" ]; then
    if ! is_unfinished "$path"; then
        echo "$path was changed by something else meanwhile; it is left alone" >&2
        exit 1
    fi
    echo "removing the unfinished installation at $path"
    # Remove the signs of an unfinished installation last, as this can be interrupted too.
    [ ! -d "$path/conda-meta" ] || : >"$path/conda-meta/history"
    for entry in "$path"/* "$path"/.[!.]*; do
        case $entry in
            */conda-meta | */install_tmp) ;;
            *) rm -rf "$entry" ;;
        esac
    done
    rm -rf "$path" 2>/dev/null || [ -z "$(ls -A "$path")" ]
fi
# The installer refuses a folder that exists, even an empty one, unless it updates.
update=''
[ ! -e "$path" ] || rmdir "$path" 2>/dev/null || update=-u
choose_source
if ! printf '%s  %s\n' "$sum" "$file" | sha256sum --check --quiet - >&2; then
    echo "the installer $file has changed since its download; remove it and run this again" >&2
    exit 1
fi
bash "$file" -b $update -p "$path"
if ! is_whole "$path"; then
    echo "the installer reported success, but the conda at $path is incomplete" >&2
    exit 1
fi
root=$(starts | sed -n 's/.*"root_prefix": *"\([^"]*\)".*/\1/p')
if ! [ "$root" -ef "$path" ]; then
    echo "the conda at $path reports the prefix ${root:-(none)}" >&2
    exit 1
fi
