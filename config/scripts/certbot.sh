# Get a certificate with certbot; "$@" is its command without the server.
# Variables: lineage, serial (of the present certificate, or empty), server, staging (or empty),
# attempts (a file with the time of each failed attempt), max_attempts, webroot. The function
# `recent` prints the times within the last hour; `enter_challenges` fails on a link.
export REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt LC_ALL=C.UTF-8
said=$(mktemp); trap 'rm -f "$said"' EXIT

# Debian 12's certbot says "can't set attribute" for any refusal; the reason is in its log.
why() {
    awk '/certbot version: / { why = "" }
        /Error: urn:ietf:params:acme:error:/ { why = $0 }
        END { print why }' /var/log/letsencrypt/letsencrypt.log 2>/dev/null
}

# certbot does not wait for another certbot, and never replaces an account that the server forgot.
patiently() {
    acme=$1 began=$(date +%s) lost=''
    shift
    while
        status=0
        "$@" --server "$acme" >"$said" 2>&1 || { status=$?; why >>"$said"; }
        cat "$said"
        [ "$status" != 0 ]
    do
        if grep -q 'Another instance of Certbot' "$said"; then
            if [ $(($(date +%s) - began)) -ge 60 ]; then
                echo 'another certbot is still running after 60 s'
                break
            fi
            echo 'waiting for another certbot'
            sleep 2
        elif grep -q 'accountDoesNotExist\|Account .* not found' "$said" && [ -z "$lost" ]; then
            account="/etc/letsencrypt/accounts/${acme#*://}" lost="$account.lost-$(date +%s)"
            echo "$acme does not know our account any more; making a new one, keeping $lost"
            mv -T "$account" "$lost" || break
        else
            break
        fi
    done
    return "$status"
}

# certbot writes into this folder as root.
(enter_challenges)
cd /etc/letsencrypt
# An earlier run may have got the certificate after its connection broke.
present=$(openssl x509 -in "live/$lineage/cert.pem" -noout -serial 2>/dev/null) || :
[ "${present#serial=}" = "$serial" ] || exit 0
# certbot fails on the incomplete files that a killed certbot leaves.
if ! { [ -s "renewal/$lineage.conf" ] && [ -s "live/$lineage/privkey.pem" ]; }; then
    rm -rf "renewal/$lineage.conf" "live/$lineage" "archive/$lineage"
fi
if [ -n "$staging" ]; then
    echo "rehearsing with $staging"
    if ! patiently "$staging" "$@" --dry-run; then
        echo 'the rehearsal failed; no attempt with the real server was made'
        exit 1
    fi
fi
date +%s >>"$attempts"
if ! patiently "$server" "$@" --force-renewal --renew-with-new-domains; then
    if grep -q 'Another instance of Certbot' "$said"; then
        sed -i '$d' "$attempts"
        exit 1
    fi
    echo "attempt $(recent | wc -l) of $max_attempts within an hour failed (tls.max_attempts)"
    exit 1
fi
rm -f "$attempts"
