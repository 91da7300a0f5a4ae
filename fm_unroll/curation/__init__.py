"""Looking after folders of scans: what lies in them, what is missing, copies that are quick to read."""
