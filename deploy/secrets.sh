#!/bin/sh
# Write each secret once into /secrets. The volume is private; its readers run under different accounts.
set -eu
umask 022
cd /secrets
for name in secret_key layer_key postgres_password redis_password; do
    if [ ! -s "$name" ]; then
        python -c 'import secrets; print(secrets.token_urlsafe(48))' > ".$name"
        mv ".$name" "$name"
        echo "made $name"
    fi
done
printf 'requirepass %s\n' "$(cat redis_password)" > .redis.conf
mv .redis.conf redis.conf
