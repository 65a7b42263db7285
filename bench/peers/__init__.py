"""What hookward is measured against. ``catalogue.py`` is the list; the programs and configurations lie beside it."""
