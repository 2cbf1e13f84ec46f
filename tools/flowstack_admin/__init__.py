"""The operator's command ``flowstack-admin``, over the admin API."""
