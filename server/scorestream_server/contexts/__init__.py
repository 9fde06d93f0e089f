"""What contexts and queues may say, from clients and from the operator's configuration file."""
