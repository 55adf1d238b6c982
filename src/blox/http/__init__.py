"""What both services need to speak HTTP: errors, queries, pages, and the server runner."""
