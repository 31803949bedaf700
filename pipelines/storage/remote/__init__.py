"""What lies far away: addresses, clients, stores, and the cache of whole files on the local disk."""
