"""The contracts: facts (Avro), vocabulary, tables, and the code that loads and checks them."""
