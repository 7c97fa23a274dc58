#!/usr/bin/env bash
# Grants each part of Milepost what it needs on a Kafka cluster, and no more. Users are made beforehand; see README.md.
#
#   BOOTSTRAP=kafka-1.example:9094 ADMIN=admin.properties ./rights.sh
#
# Needs Kafka's own tools on the PATH. It may be run again: what is granted already stays.
set -euo pipefail

: "${BOOTSTRAP:?name a broker, host:port}" "${ADMIN:?name the properties file of a user who may grant rights}"
PREFIX="${PREFIX:-milepost}"   # kafka.topic_prefix
USERS="${USERS:-milepost}"     # what the names of the users begin with
FACTS=(touchpoints spend exposures links profiles campaigns consents erasures retractions dead-letters)

# grant PART OPERATION RESOURCE…
grant() {
  kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --add \
    --allow-principal "User:$USERS-$1" --operation "$2" "${@:3}"
}

# topics: makes the topics that are missing, and says what differs in the others.
for operation in Create Describe DescribeConfigs; do
  grant topics "$operation" --topic "$PREFIX." --resource-pattern-type prefixed
done

# collector: writes raw records. Reads nothing.
grant collector Write --topic "$PREFIX.raw." --resource-pattern-type prefixed

# ingest: reads raw records, writes facts and dead letters, and leaves in its group how far it is.
grant ingest Read --topic "$PREFIX.raw." --resource-pattern-type prefixed
grant ingest Read --group milepost-ingest
for fact in "${FACTS[@]}"; do grant ingest Write --topic "$PREFIX.$fact"; done

# stitch: reads facts and dead letters, writes changed journeys.
for fact in "${FACTS[@]}"; do grant stitch Read --topic "$PREFIX.$fact"; done
grant stitch Read --group milepost-stitch
grant stitch Write --topic "$PREFIX.journeys"
