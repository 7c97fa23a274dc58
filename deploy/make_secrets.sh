#!/usr/bin/env bash
# Makes the secrets that compose.yaml names: a password for PostgreSQL, and the URL with which the stitch connects.
# Each file can be read by one user alone, the one its container runs as; so this needs the right to give files away.
#
#   sudo ./make_secrets.sh [FOLDER]
set -euo pipefail

folder="${1:-$(dirname "${BASH_SOURCE[0]}")/secrets}"
milepost=10001   # the user of the image
postgresql=999   # the user of Debian's PostgreSQL image

if [[ -e "$folder" ]]; then
  echo "$folder exists: the database knows its password already; nothing was changed." >&2
  exit 1
fi
if [[ "$(id -u)" != 0 ]]; then
  echo "run it as root (sudo): each secret is given to the user of its container." >&2
  exit 1
fi

umask 077
mkdir -p "$folder"
password="$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
printf '%s' "$password" > "$folder/postgresql_password"
printf 'postgresql://milepost:%s@postgresql:5432/milepost' "$password" > "$folder/store_url"
chown "$postgresql:$postgresql" "$folder/postgresql_password"
chown "$milepost:$milepost" "$folder/store_url"
echo "Two secrets are in $folder."
