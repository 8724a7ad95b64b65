# Install "$@" in the base environment of the conda at "$path", and the packages of "$damaged"
# again. Runs as the user, in a unit.
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
export CONDA_AUTO_UPDATE_CONDA=false
use_proxies
conda_install() {
    s=0
    "$path/bin/conda" install --yes --prefix "$path" "$@" </dev/null 2>"$errors" || s=$?
    cat "$errors" >&2
    if grep -q CondaToS "$errors"; then
        echo 'accept them with python.accept_terms: true, or use miniforge' >&2
    fi
    return $s
}
printf '%s' "$damaged" | while read -r installer name version; do
    echo "repairing $name $version"
    meta=$(grep -lF "/$name-$version.dist-info/" "$path"/conda-meta/*.json | head -n 1)
    if [ -n "$meta" ]; then
        package=${meta##*/}
        package=${package%.json}
        title=${package%-*-*}
        # Files are links to conda's cache, so the copies there are damaged too.
        rm -rf "$path/pkgs/$package" "$path/pkgs/$package.conda" "$path/pkgs/$package.tar.bz2"
        conda_install --force-reinstall --no-deps "$title=$version"
    elif [ "$installer" = pip ]; then
        "$path/bin/python" -m pip install --no-input --disable-pip-version-check --no-cache-dir \
            --ignore-installed --no-deps "$name==$version" </dev/null
    fi
done
[ $# = 0 ] || conda_install "$@"
