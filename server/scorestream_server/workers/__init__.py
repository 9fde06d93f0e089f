"""Worker processes: started, watched and restarted by the server."""
