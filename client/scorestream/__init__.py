"""The client of a scorestream server: what users import and type."""
