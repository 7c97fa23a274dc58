"""The HTTP collector: what browsers, apps, servers, e-mails and printed codes report becomes raw records in Kafka."""
