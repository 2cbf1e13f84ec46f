"""The edge: HTTP requests in, documents and error envelopes out."""
