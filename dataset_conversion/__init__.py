"""One module per data set: from the files that a user downloads to the raw folder."""
