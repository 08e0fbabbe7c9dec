"""Transfers: started from events, shared by request, looked up, cancelled, started again."""
