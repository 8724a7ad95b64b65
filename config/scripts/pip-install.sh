# Install "$@" in the environment at "$prefix", and repair what is damaged. Runs as the user.
python=$(readlink -f "$prefix/bin/python")
site=$prefix/lib/${python##*/}/site-packages
damaged=$(timeout 120 "$python" -I -S -c "$checker" --contents "$site" "$@" pip)
if [ "$damaged" != checked ]; then
    printf 'repairing %s\n' "$damaged"
    find "$site" -name '*.pyc' -delete
fi
case $damaged in
    *' pip pip '*)
        rm -rf "$site/pip" "$site"/pip-*.dist-info
        "$python" -m venv "$prefix"
        ;;
esac
pip_install() {
    "$prefix/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off \
        "$@" </dev/null
}
printf '%s\n' "$damaged" | while read -r state installer name version; do
    [ "$state $installer" = 'damaged pip' ] && [ "$name" != pip ] || continue
    pip_install --no-cache-dir --ignore-installed --no-deps "$name==$version"
done
pip_install "$@"
