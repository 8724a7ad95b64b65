#!/bin/sh
#
# NAME:  @NAME@
# VER:   @VERSION@
# PLAT:  @PLATFORM@
# MD5:   @MD5@

if ! echo "$0" | grep '\.sh$' >/dev/null; then
    printf 'Please run using "bash"/"dash"/"sh"/"zsh", but not "." or "source".\n' >&2
    exit 1
fi
min_glibc_version="@GLIBC@"
system_glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
if [ "$(printf '%s\n' "$min_glibc_version" "$system_glibc" | sort -V | head -n 1)" != "$min_glibc_version" ]; then
    echo "Installer requires GLIBC >=@GLIBC@, but system has $system_glibc."
    exit 1
fi
PREFIX="$HOME/@FOLDER@" BATCH=0 FORCE=0
total_installation_size_kb="@SIZE@"
while getopts "bicfhkp:smut" x; do
    case $x in
        h) echo "usage: $0 [options]"; exit 2;;
        b) BATCH=1;;
        i) BATCH=0;;
        f|u) FORCE=1;;
        p) PREFIX=$OPTARG;;
        k|s|m|t|c) ;;
        ?) echo "ERROR: did not recognize option '$x', please try -h"; exit 1;;
    esac
done
if [ $BATCH = 0 ]; then
    printf 'Welcome to @NAME@\n>>> '
    read -r answer || exit 1
    exit 2
fi
case $PREFIX in *\ *) echo 'ERROR: Cannot install into directories with spaces' >&2; exit 1;; esac
if [ $FORCE = 0 ] && [ -e "$PREFIX" ]; then
    echo "ERROR: File or directory already exists: '$PREFIX'" >&2
    echo 'If you want to update an existing installation, use the -u option.' >&2
    exit 1
fi
if ! mkdir -p "$PREFIX"; then
    echo "ERROR: Could not create directory: '$PREFIX' ($((total_installation_size_kb / 1024)) MB needed)" >&2
    exit 1
fi
PREFIX=$(cd "$PREFIX" && pwd)
echo "PREFIX=$PREFIX"
free=$(df -Pk "$PREFIX" | awk 'END { print int($4 / 1024) }')
need=$((total_installation_size_kb / 1024))
if [ "$free" -lt $((need + 50)) ]; then
    echo "ERROR: Not enough free disk space. Only $free MB are available, but $need MB are required (leaving a 50 MB buffer)." >&2
    exit 1
fi
payload() { tail -c @LENGTH@ "$0"; }
if [ "$(payload | md5sum | cut -d' ' -f1)" != @MD5@ ]; then
    echo 'WARNING: md5sum mismatch of tar archive' >&2
fi
# Where the tests want to look at it, or to kill it, it waits.
# shellcheck disable=SC2194  # the tests put numbers in
at() { case " @GATES@ " in *" $1 "*) until [ -e /run/go ]; do sleep 0.1; done;; esac; }

[ "$(id -u)" = 0 ] || touch "$PREFIX/.nonadmin"
touch "$PREFIX/.messages.txt"
echo 'Unpacking bootstrapper...'
printf '#!/bin/sh\nexit 0\n' >"$PREFIX/_conda"
chmod +x "$PREFIX/_conda"
mkdir -p "$PREFIX/install_tmp"
"$PREFIX/_conda" || exit
cp "$PREFIX/_conda" "${TMPDIR:-$PREFIX/install_tmp}/_conda" && "${TMPDIR:-$PREFIX/install_tmp}/_conda" || exit 127
at 2
echo 'Unpacking payload...'
mkdir -p "$PREFIX/conda-meta" "$PREFIX/pkgs"
: >"$PREFIX/conda-meta/history"
touch "$PREFIX/preconda.tar.bz2" "$PREFIX/postconda.tar.bz2"
printf '{"name": "@NAME@", "version": "@VERSION@"}\n' >"$PREFIX/.installer.info"
at 8
echo 'Installing base environment...'
payload | tar -x -C "$PREFIX" --no-same-owner || exit 1
grep -rlI @PLACEHOLDER@ "$PREFIX/bin" "$PREFIX/share/jupyter" "$PREFIX/pyvenv.cfg" 2>/dev/null |
    while read -r file; do sed -i "s#@PLACEHOLDER@#$PREFIX#g" "$file"; done
at 13
printf 'Preparing transaction: ...working... done\nExecuting transaction: ...working... done\n'
cp "$PREFIX"/pkgs/meta/* "$PREFIX/conda-meta/"
for meta in "$PREFIX"/pkgs/meta/*; do echo "+${meta##*/}"; done >"$PREFIX/conda-meta/history"
rm -rf "$PREFIX/pkgs/meta" "$PREFIX/install_tmp" "$PREFIX/preconda.tar.bz2" "$PREFIX/postconda.tar.bz2"
at 15
rm -f "$PREFIX/.messages.txt"
mkdir -p "$HOME/.conda" && echo "$PREFIX" >>"$HOME/.conda/environments.txt"
echo 'installation finished.'
exit 0
# shellcheck disable=SC2317  # the archive follows
@@END_HEADER@@
