"""What each page shows: values for its template, looked up and put in order."""
