"""The tables of the paper as data, for the reports to print beside ours."""
