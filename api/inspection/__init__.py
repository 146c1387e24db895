"""Child processes that inspect files, and what they find in uploads and finished videos."""
