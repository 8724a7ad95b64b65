# Upgrade Debian to its next release. If this is interrupted, the next run continues from here.
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$f" ] || set -- "$@" "$f"
done
[ -e "$unfinished" ] || tar -cf "$backup" "$@"
touch "$unfinished"
for f; do sed -i -E "$next_release" "$f"; done
if ! apt update; then
    tar -xf "$backup" -C /
    rm "$unfinished"
    exit 1
fi
apt -o APT::Status-Fd=1 --yes --without-new-pkgs upgrade
apt -o APT::Status-Fd=1 --yes full-upgrade
apt --yes autoremove
remove_leftovers
rm "$unfinished"
