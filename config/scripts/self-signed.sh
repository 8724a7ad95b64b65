# Make a self-signed certificate and its key.
# Variables: certificate, key (the files), days, subject, names (a subjectAltName).
dir=$(mktemp -d "${certificate%/*}/.new.XXXXXX"); trap 'rm -rf "$dir"' EXIT
umask 077
if ! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 \
    -days "$days" -subj "$subject" -addext "subjectAltName=$names" \
    -addext extendedKeyUsage=serverAuth -addext keyUsage=critical,digitalSignature \
    -addext basicConstraints=critical,CA:FALSE \
    -keyout "$dir/key" -out "$dir/cert" 2>"$dir/said"; then
    cat "$dir/said" >&2
    exit 1
fi
# openssl exits with 0 when the disk is full.
of_key=$(openssl pkey -in "$dir/key" -pubout 2>/dev/null) || :
of_cert=$(openssl x509 -in "$dir/cert" -noout -pubkey 2>/dev/null) || :
if [ -z "$of_key" ] || [ "$of_key" != "$of_cert" ]; then
    echo 'openssl wrote an unreadable file: the disk is full; make room there' >&2
    exit 1
fi
chmod 0644 "$dir/cert"
mv -fT "$dir/key" "$key"; mv -fT "$dir/cert" "$certificate"
