"""From the config of another collector to one of tailrace."""
