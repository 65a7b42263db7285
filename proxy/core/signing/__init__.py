"""How a signature is read and judged: the scheme language, strict decoding, templates, and one module per method."""
