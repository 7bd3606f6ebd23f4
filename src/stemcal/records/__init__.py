"""What passes between the rooms: typed records, written atomically, with a published JSON schema each."""
