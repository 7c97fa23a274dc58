"""The parts of one machine that Milepost starts itself: jars, Java, background processes, a Kafka broker."""
