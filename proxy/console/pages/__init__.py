"""The console's pages, as HTML that a browser can read without running anything: the script only adds to them."""
