"""Care of folders of scans: what they hold and lack, and copies that are quick to read."""
