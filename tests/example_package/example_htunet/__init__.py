"""One of each kind of thing that a package can add to htunet; the how-to pages show these files."""
