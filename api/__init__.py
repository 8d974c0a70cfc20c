"""Who may ask: the HTTP face. It reads, and puts commands on the queue; it never writes to the database."""
